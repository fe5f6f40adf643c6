-- orcs.text: a text's length in characters, its beginning, its parts, and pieces of a size that a model can read.
--
-- A character is a byte that does not continue another, and those that continue it; so nothing here fails on bytes that
-- are not UTF-8, and nothing cuts a character in two. No capability: nothing leaves the VM.

local K = ...
local type, error, next = K.raw.base.type, K.raw.base.error, K.raw.base.next
local sub, byte, match = K.raw.string.sub, K.raw.string.byte, K.raw.string.match
local offset, utf8_len, plain_find = K.raw.utf8.offset, K.raw.utf8.len, K.libs.string.find
local gsub = K.raw.string.gsub
local expect, look = K.expect, K.look

local BYTES_A_TOKEN = 4 -- of English, by the tokenizers in use; of other languages 2 to 4
local SLICE = 16384 -- bytes that one call of C looks at: no hook runs in it
local TOKENS, MOST_TOKENS = 500, 1 << 20

local text = {}
K.orcs.text = K.seal(text, "orcs.text")

local function wrong(n, name, wanted)
  error("bad argument #" .. n .. " to '" .. name .. "' (" .. wanted .. " expected)", 3)
end

local function whole(v, least) return type(v) == "number" and v == v // 1 and v >= least and v < 1 << 53 end

-- Where the character before or at byte `at` begins; at most four bytes are one.
local function begin_of(s, at)
  for back = at, at - 3, -1 do
    local b = byte(s, back)
    if not b or b < 0x80 or b >= 0xC0 then return back >= 1 and back or at end
  end
  return at
end

function text.len(s)
  expect(s, "string", 1, "len")
  if #s > SLICE then look() end
  local n = utf8_len(s)
  if n then return n end
  n = #s
  for at = 1, #s, SLICE do
    local _, continuing = gsub(sub(s, at, at + SLICE - 1), "[\128-\191]", "")
    n = n - continuing
  end
  return n
end

-- The first `max` characters, the ending among them; the text itself if it is no longer than that.
function text.truncate(s, max, ending)
  expect(s, "string", 1, "truncate")
  if not whole(max, 0) then wrong(2, "truncate", "a whole number from 0 on") end
  if ending == nil then ending = "…" end
  expect(ending, "string", 3, "truncate")
  if #s <= max then return s end
  if #s > SLICE then look() end
  local lead = #match(s, "^[\128-\191]*") -- continues nothing; goes with what follows
  local over = lead < #s and offset(s, max // 1 + 1, lead + 1) or nil
  if not over or over > #s then return s end
  local room = max // 1 - text.len(ending)
  if room < 0 then return sub(s, 1, over - 1) end
  return sub(s, 1, offset(s, room + 1, lead + 1) - 1) .. ending
end

-- The parts between the separators, which are texts and not patterns; at most `max`, the rest in the last.
function text.split(s, separator, max)
  expect(s, "string", 1, "split")
  expect(separator, "string", 2, "split")
  if separator == "" then wrong(2, "split", "a text that is not empty") end
  if max ~= nil and not whole(max, 1) then wrong(3, "split", "a whole number from 1 on") end
  local parts, n, at = {}, 0, 1
  while not max or n + 1 < max do
    local from, to = plain_find(s, separator, at, true)
    if not from then break end
    n = n + 1
    parts[n] = sub(s, at, from - 1)
    at = to + 1
  end
  parts[n + 1] = sub(s, at)
  return parts
end

-- ── pieces ────────────────────────────────────────────────────────────────────────────────────────────────

-- Borders, the best first: what a piece may end with.
local BORDERS = { "\n\n", "\n", ". ", "! ", "? ", "。", " " }

-- The last byte of the best border in s[from..to]; nil when there is none.
local function border(s, from, to)
  local window = sub(s, from, to)
  for i = 1, #BORDERS do
    local at, found = 1, nil
    while true do
      local _, e = plain_find(window, BORDERS[i], at, true)
      if not e then break end
      found, at = e, e + 1
    end
    if found then return from + found - 1 end
  end
end

local OPTIONS = { tokens = true, overlap = true }

-- Pieces of about `tokens` tokens at most, cut at paragraphs, lines, sentences, words, or else between characters;
-- each begins with the last `overlap` tokens of the one before. Without overlap they are the text when put together.
function text.chunks(s, opts)
  expect(s, "string", 1, "chunks")
  K.expect_options(opts, 2, "chunks")
  for k in next, opts or {} do
    if not OPTIONS[k] then wrong(2, "chunks", "tokens and overlap") end
  end
  local tokens, overlap = opts and opts.tokens or TOKENS, opts and opts.overlap or 0
  if not whole(tokens, 1) or tokens > MOST_TOKENS then wrong(2, "chunks", "tokens: a whole number from 1 to " .. MOST_TOKENS) end
  if not whole(overlap, 0) or overlap > tokens / 2 then wrong(2, "chunks", "overlap: from 0 to half of tokens") end
  local size, again = (tokens * BYTES_A_TOKEN) // 1 | 0, (overlap * BYTES_A_TOKEN) // 1 | 0
  local pieces, n, at = {}, 0, 1
  while #s - at + 1 > size do
    local last = border(s, at + size // 2, at + size - 1) or begin_of(s, at + size) - 1
    if last < at then last = at + size - 1 end -- one character longer than a piece: bytes that are no UTF-8
    n = n + 1
    pieces[n] = sub(s, at, last)
    local back = again > 0 and begin_of(s, last + 1 - again) or last + 1
    at = back > at and back or last + 1
  end
  if at <= #s then pieces[n + 1] = sub(s, at) end
  return pieces
end
