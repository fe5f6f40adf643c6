-- A child that has children: asks a subagent of its own, and says how many it has while it runs.

return {
  id = "spawner",
  run = function(input)
    local made = orcs.spawn_child { id = "sub", path = "subagent.lua" }
    if not made.ok then return { success = false, error = made.error } end
    local told = orcs.request("sub", "input", input)
    return { success = told.success, data = { told = told.data, children = orcs.child_count() }, error = told.error }
  end,
  on_signal = function(signal) return signal.kind == "Veto" and "Abort" or "Handled" end,
}
