-- Spawns its workers from a file beside it and divides the work among them.

local workers = {}

return {
  id = "manager",
  subscriptions = { "UserInput" },

  init = function()
    for i = 1, 3 do
      local child = orcs.spawn_child { id = "worker-" .. i, path = "worker_child.lua" }
      if not child.ok then error(child.error) end
      workers[i] = child.id
    end
  end,

  on_request = function(request)
    if request.operation == "status" then
      return { success = true, data = { children = orcs.child_count(), max = orcs.max_children() } }
    end
    local texts, ids = request.payload, {}
    for i = 1, #texts do ids[i] = workers[(i - 1) % #workers + 1] end
    local total = 0
    for _, told in ipairs(orcs.send_to_children_batch(ids, texts)) do
      if not told.ok then return { success = false, error = told.error } end
      total = total + told.result.words
    end
    return { success = true, data = total }
  end,

  on_signal = function() return "Handled" end,
  shutdown = function() orcs.emit_output("manager: " .. orcs.child_count() .. " workers go home") end,
}
