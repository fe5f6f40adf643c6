-- A small MCP server: a script that registers intents, served by `luahost mcp mcp_library.lua`. It needs no grant.

local books = {
  { title = "Tides", author = "Ada Moor", year = 1931 },
  { title = "Low Water", author = "Ada Moor", year = 1934 },
  { title = "Bread", author = "Jon Vale", year = 1952 },
}

orcs.register_intent {
  name = "find",
  description = "A book by its title",
  params = { title = { type = "string", description = "the whole title", required = true } },
  run = function(args)
    for _, book in ipairs(books) do
      if book.title == args.title then return book end
    end
    return { ok = false, error = "there is no book of this title" }
  end,
}

orcs.register_intent {
  name = "by_author",
  description = "The titles of an author",
  params = { author = { type = "string", required = true } },
  run = function(args)
    local titles = {}
    for _, book in ipairs(books) do
      if book.author == args.author then titles[#titles + 1] = book.title end
    end
    return table.concat(titles, ", ")
  end,
}
