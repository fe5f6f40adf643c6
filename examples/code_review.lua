-- Reviews a repository: reads its files, asks a model about each, writes a report.
--
--   luahost run code_review.lua --input '{"files": "**/*.py", "report": "review.md"}' \
--     --grant llm:max_calls=50 --grant fs.read:roots=src --grant fs.write:roots=reports
--
-- It reads below fs.read's roots and writes below fs.write's, and nowhere else.

local MOST_FILES, TOKENS = 20, 2000

local function question(path, part, parts)
  local which = parts > 1 and (" (part %d of %d)"):format(part, parts) or ""
  return ("Review this file: %s%s. Name at most three problems, the worst first, with their lines."):format(path, which)
end

-- What the model says of one file, or why it says nothing.
local function review(path)
  local file = orcs.read(path)
  if not file.ok then return { path = path, error = file.error } end
  local pieces, said = orcs.text.chunks(file.content, { tokens = TOKENS }), {}
  for i, piece in ipairs(pieces) do
    local answer = orcs.llm(question(path, i, #pieces) .. "\n\n" .. piece, { max_tokens = 400, temperature = 0 })
    if not answer.ok then return { path = path, error = answer.error } end
    said[i] = answer.content
  end
  return { path = path, said = table.concat(said, "\n\n"), sha256 = orcs.hash(file.content) }
end

return function(input)
  local found = orcs.glob(input.files or "**/*", input.dir)
  if not found.ok then return found end
  local files = table.move(found.files, 1, math.min(#found.files, MOST_FILES), 1, {})
  local reviews = orcs.map(files, review, { concurrency = 4 })

  local git = orcs.git_info()
  local lines = { "# Review", git.ok and ("Of commit %s."):format(git.commit_short or "none") or "" }
  local failed = 0
  for _, each in ipairs(reviews) do
    lines[#lines + 1] = ("\n## %s\n\n%s"):format(each.path, each.said or "Not reviewed: " .. each.error)
    if each.error then failed = failed + 1 end
    orcs.log("info", each.path .. (each.error and ": " .. each.error or ""))
  end
  local written = orcs.write(input.report or "review.md", table.concat(lines, "\n") .. "\n")
  if not written.ok then return written end
  return { files = #files, failed = failed, left_out = #found.files - #files, report = input.report or "review.md" }
end
