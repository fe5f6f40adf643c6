"""Sessions: whole turns in true order, the system prompt with them, and dumps that come back the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio_tests import echo_config, in_trio

from luahost import ConfigError, Grant, Host, Source
from luahost.ops.sessions.store import Store
from luahost.ops.sessions.turns import mended
from luahost.testing import EchoModel
from luahost.wire.events import Usage
from luahost.wire.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, tool_uses

UPSTREAM = json.dumps(
    {
        "sess-1": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "A", "is_error": False}],
            },
            {"role": "assistant", "content": "Done."},
        ],
        "sess-2": [],
    }
)


def test_what_a_lying_server_counts_does_not_keep_the_dump_from_loading() -> None:
    store = Store()
    for _ in range(20):
        usage = Usage(input=10**15 - 1, output=10**15 - 1, cost_usd=10.0**15 - 1)
        store.commit(store.get("s"), None, [Message("user", "a"), Message("assistant", "b")], usage)
        with store.turn_of(session := store.get("s")):
            store.commit(session, None, [Message("user", "a"), Message("assistant", "b")], usage)
    dump = store.dump(full=True)
    assert Store().load(dump) == 1 and json.loads(dump)["sessions"]["s"]["usage"]["input"] == 1 << 53


@in_trio
async def test_the_history_is_exactly_the_prompts_and_answers_in_order() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local id for i = 1, 4 do local r = orcs.llm('p' .. i, {session_id = id})\n"
                    "id = r.session_id end return id end"
                ),
                grants=[Grant.llm()],
            )
            id = await vm.run()
            stored = json.loads(vm.sessions.dump())[id]
        sent = echo.requests[-1].body["messages"]
    expected = [
        {"role": role, "content": text}
        for i in range(1, 5)
        for role, text in (("user", f"p{i}"), ("assistant", f"You said: p{i}"))
    ]
    assert stored == expected
    assert sent == expected[:-1]


@in_trio
async def test_the_system_prompt_goes_with_every_turn_can_be_changed_and_survives_dump_and_load() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local s = {session_id = 's'}\n"
                    "orcs.llm('a', {session_id = 's', system_prompt = 'one'}) orcs.llm('b', s)\n"
                    "local dump = orcs.llm_dump_sessions() orcs.llm_load_sessions('{}')\n"
                    "local loaded = orcs.llm_load_sessions(dump) orcs.llm('c', s)\n"
                    "orcs.llm('d', {session_id = 's', system_prompt = 'two'}) orcs.llm('e', s)\n"
                    "return {loaded, dump == orcs.llm_dump_sessions()} end"
                ),
                grants=[Grant.llm()],
            )
            loaded, _ = await vm.run()
        systems = [request.body["messages"][0] for request in echo.requests]
    assert loaded == {"ok": True, "count": 1}
    assert [system["content"] for system in systems] == ["one", "one", "one", "two", "two"]
    assert {system["role"] for system in systems} == {"system"}


def test_an_upstream_dump_loads_and_comes_back_the_same() -> None:
    store = Store()
    assert store.load(UPSTREAM) == 2
    first = store.dump()
    again = Store()
    again.load(first)
    assert again.dump() == first
    assert json.loads(first)["sess-1"][0] == {"role": "system", "content": "Be brief."}
    assert json.loads(first)["sess-1"][2]["content"][1]["input"] == {"path": "a"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "[]",
        '{"a": 1}',
        '{"a": [{"role": "robot", "content": "x"}]}',
        '{"a": [{"role": "user"}]}',
        '{"a": [{"role": "user", "content": [{"type": "video"}]}]}',
        '{"a": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}',
        '{"": []}',
        '{"version": 2, "sessions": {}}',
        '{"version": 1, "sessions": []}',
        '{"a": ' + "[" * 100_000,
        b"\xff\xfe{}",
    ],
)
def test_a_dump_that_is_none_changes_nothing(text: str | bytes) -> None:
    store = Store()
    store.load(UPSTREAM)
    before = store.dump()
    for mode in ("replace", "merge", "skip"):
        with pytest.raises(ConfigError, match="sessions"):
            store.load(text, mode)
        assert store.dump() == before


def test_the_three_ways_to_load() -> None:
    old = '{"a":[{"role":"user","content":"old"}],"b":[]}'
    new = '{"a":[{"role":"user","content":"new"}],"c":[]}'

    def after(mode: str) -> tuple[int, dict[str, object]]:
        store = Store()
        store.load(old)
        return store.load(new, mode), json.loads(store.dump())  # type: ignore[arg-type]

    assert after("replace") == (2, {"a": [{"role": "user", "content": "new"}], "c": []})
    assert after("merge") == (2, {"a": [{"role": "user", "content": "new"}], "b": [], "c": []})
    assert after("skip") == (1, {"a": [{"role": "user", "content": "old"}], "b": [], "c": []})
    with pytest.raises(ConfigError, match="mode"):
        after("sideways")


def test_the_versioned_form_loads_too() -> None:
    store = Store()
    assert store.load('{"version":1,"sessions":{"a":[]}}') == 1


@in_trio
async def test_from_lua_a_bad_load_is_a_value_and_changes_nothing() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function(d) local before = (orcs.llm_load_sessions(d)).count\n"
                "local bad = orcs.llm_load_sessions('nope') local mode = orcs.llm_load_sessions('{}', {mode = 'x'})\n"
                "return {before, bad, mode, orcs.llm_dump_sessions()} end"
            )
        )
        count, bad, mode, dump = await vm.run(UPSTREAM)
    assert count == 2
    assert bad["error_kind"] == "invalid_options"
    assert mode["detail"]["field"] == "mode"
    assert set(json.loads(dump)) == {"sess-1", "sess-2"}


@in_trio
async def test_one_vm_never_sees_anothers_sessions() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            source = Source(
                "return function(p) orcs.llm(p, {session_id = 'same'}) return orcs.llm_dump_sessions() end"
            )
            first = await host.load(source, grants=[Grant.llm()])
            second = await host.load(source, grants=[Grant.llm()])
            await first.run("VICTIM")
            assert "VICTIM" not in await second.run("mine")
        assert "VICTIM" not in json.dumps(echo.requests[-1].body)


# ── mending ─────────────────────────────────────────────────────────────────────────────────────────────

ids = st.sampled_from(["a", "b", "c"])
blocks = st.one_of(
    st.builds(TextBlock, st.text(max_size=3)),
    st.builds(ToolUseBlock, ids, st.just("t"), st.just({})),
    st.builds(ToolResultBlock, ids, st.text(max_size=3)),
)
messages = st.builds(
    Message, st.sampled_from(["user", "assistant"]), st.one_of(st.text(max_size=3), st.lists(blocks, max_size=4))
)


@given(st.lists(messages, max_size=6))
def test_after_mending_every_call_but_the_last_has_its_result_and_every_result_its_call(
    history: list[Message],
) -> None:
    fixed = mended(history)
    for before, after in zip(fixed, fixed[1:], strict=False):
        asked = {use.id for use in tool_uses(before)} if before.role == "assistant" else set()
        given_ids = (
            {block.tool_use_id for block in after.content if isinstance(block, ToolResultBlock)}
            if isinstance(after.content, list)
            else set()
        )
        assert given_ids == asked
    if fixed and isinstance(fixed[0].content, list):
        assert not any(isinstance(block, ToolResultBlock) for block in fixed[0].content)
    assert mended(fixed) == fixed


def test_a_sound_history_is_left_alone() -> None:
    store = Store()
    store.load(UPSTREAM)
    history = store.get("sess-1").messages
    assert mended(history) == history
