-- A component that answers for a name, and tells its host what it was asked.

return {
  id = "subagent",
  subscriptions = { "UserInput" },
  on_request = function(request)
    orcs.emit_output("subagent: " .. tostring(request.payload))
    return { success = true, data = "subagent heard: " .. tostring(request.payload) }
  end,
  on_signal = function() return "Handled" end,
}
