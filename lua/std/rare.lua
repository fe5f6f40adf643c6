-- What most scripts never call, loaded at the first call: which file holds which function. Such a file runs when a script
-- already has: it takes from K, never from K.globals.

local K = ...
local next, later = K.raw.base.next, K.later

local RARE = {
  ["boot/json.lua"] = { K, "json_parse", "json_encode" },
  ["std/concurrency.lua"] = { K.orcs, "all", "map", "race", "timeout", "nursery", "spawn" },
  ["std/children.lua"] = {
    K.orcs, "spawn_child", "child", "children", "child_count", "max_children", "send_to_child",
    "send_to_child_async", "child_result", "send_to_children_batch", "request", "request_batch", "emit_output",
  },
  ["std/files.lua"] = {
    K.orcs, "read", "write", "mkdir", "remove", "mv", "glob", "grep", "scan_dir", "git_info",
  },
  ["std/exec.lua"] = { K.orcs, "exec", "exec_argv", "check_command" },
  ["std/http.lua"] = { K.orcs, "http" },
  ["std/mcp.lua"] = { K.orcs, "mcp_servers", "mcp_tools", "mcp_call", "mcp_as_tools" },
  ["std/schema.lua"] = { K, "misfit" },
  ["std/tools.lua"] = { K, "tools_of", "results_of", "resolve", "answer" },
  ["std/structured.lua"] = { K, "structured" },
  ["std/intents.lua"] = { K, "intents_as_tools", "intent_as_tool", "intents_served", "serve_intent" },
}

later(K.fields, "pwd", "std/files.lua")

for file, names in next, RARE do
  local holder = names[1]
  for i = 2, #names do later(holder, names[i], file) end
end

-- name of orcs → the file that puts it there, when it is first looked up: no function stands for it until then.
K.rare = {
  text = "std/text.lua", hash = "std/hash.lua", toml_encode = "std/toml.lua",
}
for file, names in next, {
  ["std/checks.lua"] = { "sanitize_arg", "sanitize_path", "sanitize_strict", "glob_match" },
  ["std/documents.lua"] = {
    "toml_parse", "parse_toml", "parse_frontmatter", "parse_frontmatter_str", "load_lua", "sandbox_eval", "uuid",
  },
  ["std/events.lua"] = { "emit_event", "board_recent", "output_with_level", "is_alive", "request_stop", "spawn_runner" },
  ["std/intents.lua"] = {
    "register_intent", "unregister_intent", "dispatch", "intent_defs", "tool_schemas", "tool_descriptions", "suspended_info",
  },
  ["std/resolve_loop.lua"] = { "resolve_loop" },
  ["std/hooks.lua"] = { "hook", "unhook" },
} do
  for i = 1, #names do K.rare[names[i]] = file end
end
