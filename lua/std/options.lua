-- What every call with an options table checks: its type, and how a wrong one is answered.
--
-- A wrong option is a value, {ok=false, error_kind="invalid_options", detail={field}}; a wrong positional argument is
-- an error at the caller's line.

local K = ...
local sub, expect = K.raw.string.sub, K.expect

-- A failed result; `field` is a path that may begin with "opts.".
function K.invalid(message, field)
  if field and sub(field, 1, 5) == "opts." then
    message, field = sub(message, 6), sub(field, 6)
  end
  return { ok = false, error = message, error_kind = "invalid_options", retryable = false, detail = { field = field } }
end

-- A tail call: the line that is blamed is still the one that called `name`.
function K.expect_options(opts, n, name)
  if opts ~= nil then return expect(opts, "table", n, name) end
end

-- Asks the host for `op` with these arguments; what cannot be sent is a wrong option.
function K.ask(op, args)
  local encoded, message, field = K.encode(args)
  if not encoded then return K.invalid(message, field) end
  return K.call(op, encoded)
end
