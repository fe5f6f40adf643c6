-- Files: orcs.read, write, mkdir, remove, mv, glob, grep, scan_dir, git_info, and the field orcs.pwd.
--
-- All under fs.read, fs.write and fs.delete; a refusal is a value. scan_dir raises, as the upstream's does.

local K = ...
local error = K.raw.base.error
local call, ask, expect, orcs = K.call, K.ask, K.expect, K.orcs

for _, op in K.raw.base.next, { "read", "mkdir", "remove" } do
  orcs[op] = function(path)
    expect(path, "string", 1, op)
    return ask(op, { path = path })
  end
end

function orcs.write(path, content)
  expect(path, "string", 1, "write")
  expect(content, "string", 2, "write")
  return ask("write", { path = path, content = content })
end

function orcs.mv(src, dst)
  expect(src, "string", 1, "mv")
  expect(dst, "string", 2, "mv")
  return ask("mv", { src = src, dst = dst })
end

function orcs.glob(pattern, dir)
  expect(pattern, "string", 1, "glob")
  if dir ~= nil then expect(dir, "string", 2, "glob") end
  return ask("glob", { pattern = pattern, dir = dir })
end

function orcs.grep(pattern, path)
  expect(pattern, "string", 1, "grep")
  if path ~= nil then expect(path, "string", 2, "grep") end
  return ask("grep", { pattern = pattern, path = path })
end

function orcs.scan_dir(config)
  expect(config, "table", 1, "scan_dir")
  local found = ask("scan_dir", config)
  if not found.ok then error(found.error, 2) end
  return found.entries
end

function orcs.git_info() return call("git_info", "\xc0") end

K.fields.pwd = function() return call("pwd", "\xc0") end -- a field that the host answers each time it is read
