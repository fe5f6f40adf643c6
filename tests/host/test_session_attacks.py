"""Attacks on a VM's store of sessions: forged dumps, storms, bombs. Each is a clear no, and nothing has changed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio_tests import echo_config, in_trio

from luahost import ConfigError, Grant, Host, Limits, Source
from luahost.errors import Exhausted, LuahostError
from luahost.ops.sessions.store import Store
from luahost.parts import at_once
from luahost.testing import EchoModel
from luahost.wire.events import Usage
from luahost.wire.messages import (
    Conversation,
    ImageBlock,
    Message,
    Options,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    text_of,
)
from luahost.wire.wires import NAMES, wire

GOOD = '{"good":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]}'


def nested(depth: int) -> str:
    return '{"x":' * depth + "1" + "}" * depth


def with_block(block: str) -> str:
    return f'{{"a":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[{block}]}}]}}'


def full(session: str) -> str:
    return f'{{"version":1,"sessions":{{"a":{session}}}}}'


FORGED = {
    "arguments 66 deep": with_block(f'{{"type":"tool_use","id":"a","name":"t","input":{nested(66)}}}'),
    "arguments 100,000 deep": with_block(f'{{"type":"tool_use","id":"a","name":"t","input":{nested(100_000)}}}'),
    "a state 65 deep": with_block(f'{{"type":"text","text":"x","state":{{"wire":"gemini","x":{nested(65)}}}}}'),
    "a state of no wire": with_block('{"type":"text","text":"x","state":{"signature":"S"}}'),
    "a state of wire 7": with_block('{"type":"text","text":"x","state":{"wire":7}}'),
    "a state that is a list": with_block('{"type":"text","text":"x","state":["anthropic"]}'),
    "a number that is none": with_block('{"type":"tool_use","id":"a","name":"t","input":{"n":1e999}}'),
    "an image that is no base64": with_block('{"type":"image","media_type":"image/png","data":"?"}'),
    "a NUL in an id": '{"a\\u0000b":[]}',
    "a line end in an id": '{"a\\nb":[]}',
    "half a character in an id": '{"\\ud800":[]}',
    "half a character in a text": '{"a":[{"role":"user","content":"\\ud800"}]}',
    "an id of 201 characters": json.dumps({"x" * 201: []}),
    "10,001 sessions": json.dumps({str(n): [] for n in range(10_001)}),
    "a million empty messages": '{"a":['
    + '{"role":"user","content":""},' * 1_000_000
    + '{"role":"user","content":""}]}',
    "a million empty tables": with_block(
        '{"type":"tool_use","id":"a","name":"t","input":{"x":[' + "{}," * 1_000_000 + "{}]}}"
    ),
    "a session of 40 MB": json.dumps({"a": [{"role": "user", "content": "x" * 40_000_000}]}),
    "negative usage": full('{"messages":[],"usage":{"input":-1}}'),
    "usage beyond counting": full('{"messages":[],"usage":{"input":' + "9" * 40 + "}}"),
    "a context beyond counting": full('{"messages":[],"last_tokens":' + "9" * 18 + "}"),
    "a field nobody knows": full('{"messages":[],"admin":true}'),
    "no messages": full('{"system":"S"}'),
    "a system message in the full form": full('{"messages":[{"role":"system","content":"x"}]}'),
    "something pending 70 deep": full(f'{{"messages":[],"pending":[{nested(70)}]}}'),
    "what is pending is no object": full('{"messages":[],"pending":[1]}'),
    "version true": '{"version":true,"sessions":{}}',
    "version 1.0": '{"version":1.0,"sessions":{}}',
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_dump_is_refused_with_one_line_and_changes_nothing(name: str) -> None:
    store = Store()
    store.load(GOOD)
    before, cost = store.dump(full=True), store._cost
    with pytest.raises(ConfigError, match="sessions: ") as caught:
        store.load(FORGED[name], "merge")
    assert "\n" not in caught.value.message and len(caught.value.message) < 400
    assert (store.dump(full=True), store._cost) == (before, cost)


def test_what_is_odd_but_harmless_loads_and_comes_back_the_same() -> None:
    odd = {
        "twice the same id": ('{"a":[{"role":"user","content":"1"}],"a":[]}', {"a": []}),
        "64 deep": (with_block(f'{{"type":"tool_use","id":"a","name":"t","input":{nested(64)}}}'), None),
        "a wire of the future": (with_block('{"type":"text","text":"x","state":{"wire":"next","s":[1]}}'), None),
        "a session named version": ('{"version":[]}', {"version": []}),
        "a number beyond 64 bits": (
            with_block('{"type":"tool_use","id":"a","name":"t","input":{"n":' + "9" * 30 + "}}"),
            None,
        ),
        "an id of 200 wide characters": (json.dumps({"漢" * 200: []}), None),
    }
    for name, (text, expected) in odd.items():
        store = Store()
        store.load(text)
        for is_full in (False, True):
            dumped = store.dump(full=is_full)
            again = Store()
            again.load(dumped)
            assert again.dump(full=is_full) == dumped, name
        assert json.loads(store.dump()) == (json.loads(text) if expected is None else expected), name


@in_trio
async def test_what_a_vm_cannot_take_is_a_value_for_its_script() -> None:
    beyond = with_block('{"type":"tool_use","id":"a","name":"t","input":{"n":' + "9" * 30 + "}}")
    long = json.dumps({"a": [{"role": "user", "content": "x" * 60_000}]})
    async with Host() as host:
        vm = await host.load(
            Source("return function() local S = orcs.llm_sessions return {S.get('a'), S.dump(), S.list()} end"),
            limits=Limits(value_bytes=32_000),
        )
        vm.sessions.load(beyond)
        got, dumped, listed = await vm.run()
        assert (got["error_kind"], listed["ok"]) == ("internal", True)
        assert json.loads(dumped) == json.loads(beyond)
        vm.sessions.load(long)
        got, dumped, listed = await vm.run()
    assert (got["error_kind"], dumped["error_kind"]) == ("too_large", "too_large")
    assert "trim" in got["error"] and "trim" in dumped["error"]
    assert listed["sessions"][0]["bytes"] > 60_000


@in_trio
async def test_a_storm_of_forks_ends_at_the_limit_and_ten_thousand_sessions_are_listed() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function() local S = orcs.llm_sessions local n, last = 0\n"
                "repeat last = S.fork('0') n = n + 1 until not last.ok\n"
                "return {n, last, #S.list().sessions, S.delete('0'), S.fork('1')} end"
            )
        )
        vm.sessions.load(json.dumps({str(n): [{"role": "user", "content": "hi"}] for n in range(9_000)}))
        forks, last, listed, gone, room = await vm.run()
    assert (forks, listed, gone["ok"], room["ok"]) == (1_001, 10_000, True, True)
    assert last["error_kind"] == "too_large"


@in_trio
async def test_forks_of_a_long_session_end_at_the_bytes_of_the_store() -> None:
    text = json.dumps({"a": [{"role": "user", "content": "x" * 7_000_000}]})
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function(d) local S = orcs.llm_sessions S.load(d) local n, last = 0\n"
                "repeat last = S.fork('a') n = n + 1 until not last.ok return {n, last} end"
            )
        )
        forks, last = await vm.run(text)
        vm.sessions.load(vm.sessions.dump())
    assert forks == 9
    assert last["error_kind"] == "too_large" and "trim or delete" in last["error"]


@in_trio
async def test_a_turn_without_room_is_refused_before_it_is_sent_or_ends_with_its_text_and_is_not_stored() -> None:
    with EchoModel(reply=lambda messages: "y" * (10 if len(messages) < 3 else 9000)) as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source("return function(p) return orcs.llm(p, {session_id = 's'}) end"), grants=[Grant.llm()]
            )
            vm.sessions._store._max_session_bytes = 8000
            assert (await vm.run("hi"))["ok"]
            before = vm.sessions.dump(full=True)
            long_prompt, long_answer = await vm.run("x" * 9000), await vm.run("hi")
            assert vm.sessions.dump(full=True) == before
            assert vm.sessions.list()[0].busy is False
        assert echo.calls == 2
    assert long_prompt["error_kind"] == long_answer["error_kind"] == "too_large"
    assert long_answer["detail"]["partial"] == "y" * 9000


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────

MODELS = {
    "openai": "gpt-4o",
    "openai-responses": "gpt-5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-pro",
    "ollama": "llama3",
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["S", "", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "id", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = ["signature", "redacted", "thoughtSignature", "id", "item", "phase", "data"]
states = st.builds(
    lambda name, rest: {**rest, "wire": name},
    st.sampled_from([*NAMES, "next"]),
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3),
)


def body(name: str, history: list[Message]) -> bytes:
    spoken = wire(name, name.partition("-")[0])
    return spoken.exchange(Conversation(history, "S"), Options(model=MODELS[name])).request.body


@settings(max_examples=60)
@given(states, states, states)
def test_no_forged_state_stops_a_wire(one: Any, two: Any, three: Any) -> None:
    blocks = [
        {"type": "thinking", "text": "hm", "state": one},
        {"type": "text", "text": "ok", "state": two},
        {"type": "tool_use", "id": "c", "name": "t", "input": {}, "state": three},
    ]
    store = Store()
    store.load(json.dumps({"a": [{"role": "user", "content": "x"}, {"role": "assistant", "content": blocks}]}))
    again = Store()
    again.load(store.dump())
    assert again.dump() == store.dump()
    history = store.get("a").messages
    for name in NAMES:
        msgspec.json.decode(body(name, history))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_reaches_the_wire_that_it_names_and_no_other(name: str) -> None:
    for key in KEYS:
        value: Any = {"type": "reasoning", "id": "x", "encrypted_content": "MARK"} if key == "item" else "MARK"
        state = {"wire": name, key: value}
        history = [
            Message("user", "x"),
            Message(
                "assistant",
                [
                    ThinkingBlock("hm", state),
                    TextBlock("ok", state),
                    ImageBlock("image/png", b"x", state=state),
                    ToolUseBlock("c", "t", {}, state),
                ],
            ),
            Message("user", [ToolResultBlock("c", "r")]),
        ]
        for other in NAMES:
            if other != name:
                assert b"MARK" not in body(other, history), (name, key, other)
    own = {"anthropic": "signature", "gemini": "thoughtSignature", "openai-responses": "item"}.get(name)
    if own is not None:  # the control
        value = {"type": "reasoning", "id": "x", "encrypted_content": "MARK"} if own == "item" else "MARK"
        told = Message("assistant", [ThinkingBlock("hm", {"wire": name, own: value}), TextBlock("ok")])
        assert b"MARK" in body(name, [Message("user", "x"), told])


# ── accounts ────────────────────────────────────────────────────────────────────────────────────────────

names = st.sampled_from(["a", "b", "c"])
acts = st.one_of(
    st.tuples(st.just("turn"), names, st.text(max_size=200), st.sampled_from([None, "S" * 50])),
    st.tuples(st.just("call"), names),
    st.tuples(st.just("answer"), names, st.sampled_from([1, 5000])),
    st.tuples(st.just("fork"), names, names, st.integers(-3, 3)),
    st.tuples(st.just("trim"), names, st.integers(0, 4)),
    st.tuples(st.just("condense"), names, st.integers(0, 2), st.sampled_from(["short", "long" * 1000])),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("load"), st.sampled_from(["replace", "merge", "skip"])),
    st.tuples(st.just("empty"), names),
)


@settings(max_examples=150)
@given(st.lists(acts, max_size=25))
def test_the_store_knows_what_it_weighs_whatever_was_done_and_never_more_than_it_may(made: list[Any]) -> None:
    store = Store(clock=lambda: 5.0, max_bytes=12_000, max_session_bytes=6_000)
    dump = GOOD
    for act, *args in made:
        before = store.dump(full=True)
        try:
            match act:
                case "turn" | "call":
                    session = store.get(args[0])
                    blocks = [ToolUseBlock("c", "t", {"x": [{}]})]
                    answer = Message("assistant", "yes" if act == "turn" else blocks)
                    prompt, system = (args[1], args[2]) if act == "turn" else ("p", session.system)
                    if store.lack(session, [Message("user", prompt)]) is None:
                        with store.turn_of(session):
                            store.commit(session, system, [Message("user", prompt), answer], Usage(input=3))
                            assert session.messages[-1] == answer
                            assert prompt in text_of(session.messages[-2])
                case "answer":
                    store.answer(args[0], [ToolResultBlock("c", "r" * args[1])])
                case "fork":
                    store.fork(*args)
                case "trim":
                    store.trim(args[0], max_messages=args[1])
                case "condense":
                    session, count = store.older(args[0], args[1])
                    at_once(store.condense(args[0], count, at_once(session.prefix_of(count)), args[2]))
                case "delete":
                    store.delete(args[0])
                case "load":
                    store.load(dump, args[0])
                    dump = store.dump(full=True)
                case "empty":
                    with store.turn_of(store.get(args[0])):
                        pass
        except LuahostError as error:
            assert isinstance(error, ConfigError | Exhausted)
            assert store.dump(full=True) == before, f"{act} was refused and changed something"
        sessions = store._sessions.values()
        assert store._cost == sum(session.cost for session in sessions) <= 12_000
        assert not any(session.busy for session in sessions)
        assert len(store.dump(full=True)) <= store._cost + 100
    again = Store(clock=lambda: 9.0)
    again.load(store.dump(full=True))
    assert again.dump(full=True) == store.dump(full=True)
    assert [each.prefix_sha256 for each in again.list()] == [each.prefix_sha256 for each in store.list()]


def test_a_session_that_was_emptied_is_still_there_after_a_turn_that_failed() -> None:
    store = Store()
    session = store.get("a")
    with store.turn_of(session):
        store.commit(session, None, [Message("user", "p"), Message("assistant", "yes")], Usage(input=3))
    store.fork("a", "b", 0)
    before = store.dump(full=True)
    with store.turn_of(store.get("b")):
        pass
    assert store.dump(full=True) == before
    with store.turn_of(store.get("new")):
        pass
    assert store.dump(full=True) == before, "and a new one was not kept"
