-- Conway's life: state that goes on from request to request, and over a snapshot into the next life.

local width, height, alive = 5, 5, {}

local function count(x, y)
  local n = 0
  for dy = -1, 1 do
    for dx = -1, 1 do
      local at = ((y + dy) % height) * width + (x + dx) % width
      if (dx ~= 0 or dy ~= 0) and alive[at] then n = n + 1 end
    end
  end
  return n
end

local function step()
  local after = {}
  for y = 0, height - 1 do
    for x = 0, width - 1 do
      local n, at = count(x, y), y * width + x
      if n == 3 or (n == 2 and alive[at]) then after[at] = true end
    end
  end
  alive = after
end

local function drawn()
  local rows = {}
  for y = 0, height - 1 do
    local row = {}
    for x = 0, width - 1 do row[x + 1] = alive[y * width + x] and "#" or "." end
    rows[y + 1] = table.concat(row)
  end
  return rows
end

local function set(rows)
  alive = {}
  for y, row in ipairs(rows) do
    for x = 1, #row do
      if row:sub(x, x) == "#" then alive[(y - 1) * width + x - 1] = true end
    end
  end
end

return {
  id = "life",
  subscriptions = { "Echo" },
  on_request = function(request)
    if request.operation == "set" then set(request.payload) end
    if request.operation == "step" then step() end
    return { success = true, data = drawn() }
  end,
  on_signal = function() return "Handled" end,
  snapshot = drawn,
  restore = set,
}
