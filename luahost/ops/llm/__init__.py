"""orcs.llm: what a script may say, the plan of it, the turn with a server, what it costs."""
