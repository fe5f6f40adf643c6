-- MCP: orcs.mcp_servers(), mcp_tools(server), mcp_call(server, tool, args), and MCP tools as tools for a model.

local K = ...
local ipairs = K.raw.base.ipairs
local ask, expect, orcs = K.ask, K.expect, K.orcs

function orcs.mcp_servers() return ask("mcp_servers", {}) end

function orcs.mcp_tools(server)
  if server ~= nil then expect(server, "string", 1, "mcp_tools") end
  return ask("mcp_tools", { server = server })
end

function orcs.mcp_call(server, tool, args)
  expect(server, "string", 1, "mcp_call")
  expect(tool, "string", 2, "mcp_call")
  if args ~= nil then expect(args, "table", 3, "mcp_call") end
  return ask("mcp_call", { server = server, tool = tool, args = args or {} })
end

-- The tools of a server (or of all) as orcs.llm takes them, each with a run that calls it: a list, or nil and the failed result.
function orcs.mcp_as_tools(server)
  local found = orcs.mcp_tools(server)
  if not found.ok then return nil, found end
  local tools = {}
  for i, each in ipairs(found.tools) do
    tools[i] = {
      name = each.name,
      description = each.description,
      parameters = each.parameters,
      run = function(args)
        local result = orcs.mcp_call(each.server, each.tool, args)
        if not result.ok then return result end
        return result.content
      end,
    }
  end
  return tools
end
