-- Programs: orcs.exec_argv(program, args, opts), orcs.exec(text), orcs.check_command(text). Under the grant `exec`.
--
-- Every answer has stdout, stderr and code, as the upstream's; code is -1 when nothing was run.

local K = ...
local next = K.raw.base.next
local ask, expect, expect_options, orcs = K.ask, K.expect, K.expect_options, K.orcs

local function shaped(result)
  if result.code == nil then result.stdout, result.stderr, result.code = "", result.error, -1 end
  return result
end

function orcs.exec(command)
  expect(command, "string", 1, "exec")
  return shaped(ask("exec", { command = command }))
end

function orcs.exec_argv(program, args, opts)
  expect(program, "string", 1, "exec_argv")
  if args ~= nil then expect(args, "table", 2, "exec_argv") end
  expect_options(opts, 3, "exec_argv")
  if args == nil or next(args) == nil then args = K.values.array({}) end
  return shaped(ask("exec_argv", { program = program, args = args, opts = opts or {} }))
end

function orcs.check_command(command)
  expect(command, "string", 1, "check_command")
  return ask("check_command", { command = command })
end
