-- What most scripts never call, loaded when it is first looked up or called: which file holds which function. Such a file runs
-- when a script already has: it takes from K, never from K.globals.

local K = ...
local type, rawget, later, match = K.raw.base.type, K.raw.base.rawget, K.later, K.raw.string.match

-- Functions of K, and the files that hold them.
local OF_K = {
  json_parse = "boot/json.lua", json_encode = "boot/json.lua", misfit = "std/schema.lua",
  tools_of = "std/tools.lua", results_of = "std/tools.lua", resolve = "std/tools.lua", answer = "std/tools.lua",
  structured = "std/structured.lua", with_fallback = "std/fallback.lua", add_up = "std/fallback.lua",
  intents_as_tools = "std/intents.lua", intent_as_tool = "std/intents.lua", intents_served = "std/intents.lua",
  serve_intent = "std/intents.lua", ask_apart = "std/llm.lua",
}

K.raw.base.setmetatable(K, {
  __index = function(_, name)
    local file = OF_K[name]
    if file then
      K.need(file)
      return rawget(K, name)
    end
  end,
})

later(K.fields, "pwd", "std/files.lua")

-- The names of orcs, and before them the file that puts them there. A text: nothing else stands for them until then.
local HELD = [[

boot/json.lua json_parse json_encode
std/llm.lua llm llm_ping llm_models
std/sessions.lua llm_sessions llm_dump_sessions llm_load_sessions
std/concurrency.lua all map race timeout nursery spawn
std/children.lua spawn_child child children child_count max_children send_to_child send_to_child_async child_result
std/children.lua send_to_children_batch request request_batch emit_output
std/files.lua read write mkdir remove mv glob grep scan_dir git_info
std/exec.lua exec exec_argv check_command
std/http.lua http
std/mcp.lua mcp_servers mcp_tools mcp_call mcp_as_tools
std/caps.lua caps can request_capability
std/text.lua text
std/hash.lua hash
std/toml.lua toml_encode
std/checks.lua sanitize_arg sanitize_path sanitize_strict glob_match
std/documents.lua toml_parse parse_toml parse_frontmatter parse_frontmatter_str load_lua sandbox_eval uuid
std/events.lua emit_event board_recent output_with_level is_alive request_stop spawn_runner
std/intents.lua register_intent unregister_intent dispatch intent_defs tool_schemas tool_descriptions suspended_info
std/resolve_loop.lua resolve_loop
std/hooks.lua hook unhook
]]

-- The file that holds orcs[name], if one does.
function K.rare(name)
  return type(name) == "string" and #name < 40 and match(name, "^[%a_]+$")
    and match(HELD, "\n(%S+) [^\n]*%f[%w_]" .. name .. "%f[^%w_]")
end
