-- group: data
-- attack: odd texts, numbers and tables as first, second and third argument of every function of orcs
-- expect: SAFE|KILLED
-- correct: each call is refused in words, or done; none is a fault of the host
local odd = { "\0", "\255\254", "\xed\xa0\x80", "\u{202e}x", "\r\n", ("é"):rep(5000), 0 / 0, 1 / 0, math.mininteger, {}, { 1 }, true, print, orcs.null }
local names = [[read write mkdir remove mv glob grep scan_dir git_info exec exec_argv check_command http llm llm_ping llm_models
  llm_sessions llm_dump_sessions llm_load_sessions spawn_child child send_to_child send_to_child_async child_result request
  send_to_children_batch request_batch emit_output mcp_servers mcp_tools mcp_call caps can request_capability hash toml_encode
  sanitize_arg sanitize_path sanitize_strict glob_match toml_parse parse_frontmatter parse_frontmatter_str load_lua emit_event
  board_recent output_with_level is_alive register_intent unregister_intent dispatch hook unhook log output json_parse
  json_encode resolve_loop spawn_runner]]
for name in names:gmatch("%S+") do
  for _, v in ipairs(odd) do
    local ok, e = pcall(orcs[name], v, v, v)
    if not ok and (type(e) ~= "string" or #e > 1000 or e:find("'?'", 1, true)) then return "ESCAPED: " .. name .. ": " .. tostring(e) end
    if ok and type(e) == "table" and rawget(e, "error_kind") == "internal" then return "ESCAPED: " .. name .. ": " .. tostring(e.error) end
  end
end
return "SAFE"
