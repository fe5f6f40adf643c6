-- group: data
-- attack: values with every metamethod given to every function of orcs: they run while the host's side is at work, or change between check and use
-- expect: SAFE|ERROR|KILLED
-- correct: arguments are read raw, once; no metamethod runs inside a call
local ran = {}
local mt = {}
for _, name in ipairs{ "__index", "__newindex", "__len", "__eq", "__pairs", "__call", "__concat", "__lt", "__le", "__unm", "__close" } do
  mt[name] = function() ran[name] = true return 1 end
end
local evil = setmetatable({}, mt)
for name in ([[
  llm llm_ping llm_models read write mkdir remove mv glob grep scan_dir exec exec_argv check_command http
  spawn_child child send_to_child send_to_child_async child_result send_to_children_batch request request_batch
  caps can log output emit_event board_recent hook unhook json_encode json_parse toml_encode toml_parse
  parse_frontmatter sandbox_eval load_lua glob_match sanitize_path hash all map race timeout mcp_call mcp_tools
  register_intent spawn_runner
]]):gmatch("%S+") do
  local f = orcs[name]
  for n = 1, 4 do
    local args = { "x", "x", "x", "x" }
    args[n] = evil
    if f then pcall(f, table.unpack(args, 1, n)) end
  end
end
for name in pairs(ran) do if name ~= "__call" then return "ESCAPED: " .. name .. " ran inside a call" end end
return "SAFE"
