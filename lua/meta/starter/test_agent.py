"""The agent, with a model server that needs nothing: no key, no network. Run it with pytest."""

from __future__ import annotations

from pathlib import Path

import luahost
from luahost.testing import EchoModel

AGENT = Path(__file__).parent / "agent.lua"


def test_the_agent_sums_up() -> None:
    with EchoModel(reply=lambda messages: "It is short.") as model:
        echo = luahost.Provider(name="echo", base_url=model.url, model="echo")
        config = luahost.Config(providers={"echo": echo}, provider="echo")
        result = luahost.run(AGENT, "A long text.", grants=[luahost.Grant.llm(max_calls=1)], config=config)
        assert "A long text." in model.requests[0].body["messages"][-1]["content"]
    assert result["summary"] == "It is short."


def test_without_a_grant_it_asks_nobody() -> None:
    assert luahost.run(AGENT, "A text.")["error_kind"] == "permission_denied"
