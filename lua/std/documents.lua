-- Texts with a form: orcs.toml_parse, parse_frontmatter_str, parse_frontmatter; and Lua: load_lua, sandbox_eval. orcs.uuid.
--
-- TOML and YAML are read by the host, by well-kept libraries, up to a size and slower for those who ask for much.
-- Code is evaluated in a VM of its own that holds nothing: what it does to its string library is not done to ours.

local K = ...
local error = K.raw.base.error
local call, ask, expect, orcs = K.call, K.ask, K.expect, K.orcs
local load, text_of_error = K.load, K.text_of_error

-- Raises on bad input, as the upstream's.
local function toml_parse(text)
  expect(text, "string", 1, "toml_parse")
  local found = ask("toml.parse", { text = text })
  if not found.ok then error("orcs.toml_parse: " .. found.error, 2) end
  return found.value
end

orcs.toml_parse, orcs.parse_toml = toml_parse, toml_parse

function orcs.parse_frontmatter_str(text)
  expect(text, "string", 1, "parse_frontmatter_str")
  return ask("frontmatter.parse", { text = text })
end

function orcs.parse_frontmatter(path)
  expect(path, "string", 1, "parse_frontmatter")
  return ask("parse_frontmatter", { path = path })
end

-- What the chunk returns, run here, with this script's globals and under its limits. Raises what it raises.
function orcs.load_lua(source, name)
  expect(source, "string", 1, "load_lua")
  if name ~= nil then expect(name, "string", 2, "load_lua") end
  local f, message = load(source, "=" .. (name or "(eval)"), "t")
  if not f then error(text_of_error(message), 2) end
  return (f())
end

function orcs.sandbox_eval(code)
  expect(code, "string", 1, "sandbox_eval")
  return ask("sandbox_eval", { code = code })
end

function orcs.uuid() return call("uuid", "\xc0") end
