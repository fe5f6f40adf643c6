-- A child: id, on_signal and run, no more. Counts the words it is sent.

return {
  id = "worker",
  run = function(input)
    if type(input) ~= "table" or type(input.text) ~= "string" then return { success = false, error = "text is missing" } end
    local n = 0
    for _ in input.text:gmatch("%S+") do n = n + 1 end
    return { success = true, data = { words = n } }
  end,
  on_signal = function(signal) return signal.kind == "Veto" and "Abort" or "Handled" end,
}
