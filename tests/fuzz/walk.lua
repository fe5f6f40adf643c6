-- Looks at everything a script can reach from its globals and its own values: tables, keys, metatables.
-- Stands before a script that may replace every name, so it captures first. Returns "clean" or what it saw.
local type, next, rawget, getmetatable, pcall, tostring = type, next, rawget, getmetatable, pcall, tostring
local pairs, select, G, running = pairs, select, _G, coroutine.running
local find, concat = string.find, table.concat
local error, unpack, wall, pack = error, table.unpack, os.clock, table.pack

local function walk(...)
  local todo, seen, n = pack(G, ...), {}, 0
  local count = todo.n
  local function add(v)
    local ty = type(v)
    if ty == "userdata" then error("FOUND userdata", 0) end
    if ty == "string" and (find(v, "0x[5-7][5-9a-f]%x%x%x%x%x%x%x%x%x%x") or find(v, "<built-in", 1, true)
      or find(v, "Traceback (most recent", 1, true) or find(v, "site-packages", 1, true)) then
      error("FOUND text of the host: " .. v, 0)
    end
    if ty == "table" and not seen[v] and n < 20000 then
      n = n + 1
      seen[v], count = true, count + 1
      todo[count] = v
    end
  end
  local first = count
  for i = 1, first do add(todo[i]) end
  local at = first
  while at < count do
    at = at + 1
    local t = todo[at]
    local mt = getmetatable(t)
    if mt ~= nil then add(mt) end
    local here = 0
    for k, v in next, t do
      here = here + 1
      if here > 20000 then break end
      add(k)
      add(v)
    end
  end
  return "clean"
end
