-- orcs.http(method, url, {headers, body, timeout}) → {ok, status, headers, all_headers, body, url}. Under `http`.

local K = ...
local type, next = K.raw.base.type, K.raw.base.next
local ask, expect, expect_options, orcs = K.ask, K.expect, K.expect_options, K.orcs

function orcs.http(method, url, opts)
  expect(method, "string", 1, "http")
  expect(url, "string", 2, "http")
  expect_options(opts, 3, "http")
  local sent = {}
  for k, v in next, opts or {} do sent[k] = v end
  if type(sent.headers) == "table" and next(sent.headers) == nil then sent.headers = nil end
  return ask("http", { method = method, url = url, opts = sent })
end
