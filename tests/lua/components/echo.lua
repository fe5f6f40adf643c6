-- A component as the upstream's are: subscriptions, requests, signals. Answers with what it was asked.

return {
  id = "echo",
  namespace = "test",
  subscriptions = { "Echo", { category = "UserInput", operations = { "input" } } },

  on_request = function(request)
    if request.operation == "echo" or request.operation == "input" then
      return { success = true, data = request.payload }
    end
    return { success = false, error = "unknown operation: " .. request.operation }
  end,

  on_signal = function(signal)
    if signal.kind == "Veto" then return "Abort" end -- a component cannot: this counts as Handled
    return "Ignored"
  end,
}
