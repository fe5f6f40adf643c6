-- An agent that uses an MCP server: the model is offered the server's tools, and those alone that the grant names.
--
--   luahost run mcp_agent.lua --input '"Who wrote Tides?"' --config mcp.toml --grant llm --grant 'mcp:servers=books'
--
-- where mcp.toml names the server, here the script beside this one, served by luahost itself:
--
--   [mcp.books]
--   command = ["luahost", "mcp", "mcp_library.lua"]

local question = ... or "call mcp__books__find {\"title\": \"Tides\"}"

local tools, failed = orcs.mcp_as_tools("books")
if not tools then return failed end

local names = {}
for i, tool in ipairs(tools) do names[i] = tool.name end

local answer = orcs.llm(question, { tools = tools, resolve = true, max_tool_turns = 5 })
if not answer.ok then return answer end
return { answer = answer.content, tools = names, turns = answer.turns }
