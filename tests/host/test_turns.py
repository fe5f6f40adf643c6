"""Turns: mended for every wire, cut between rounds only, and each request's bytes begin with those of the one before."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.ops.sessions.session import Session
from luahost.ops.sessions.store import Store
from luahost.ops.sessions.turns import begins_turn, measure, mended, shortened, turn_starts, weight
from luahost.parts import at_once
from luahost.wire.events import Usage
from luahost.wire.messages import (
    Block,
    Conversation,
    ImageBlock,
    Message,
    Options,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    tool_uses,
)
from luahost.wire.wires import NAMES, wire

ids = st.sampled_from(["a", "b", "a_2"])
texts = st.text(alphabet="xyz ä\n", max_size=3)
states = st.sampled_from(
    [None, {"wire": "anthropic", "signature": "S"}, {"wire": "gemini", "thoughtSignature": "G"}, {"wire": "ollama"}]
)
any_block = st.one_of(
    st.builds(TextBlock, texts, states),
    st.builds(ThinkingBlock, texts, states),
    st.builds(ImageBlock, st.just("image/png"), st.binary(min_size=1, max_size=3)),
    st.builds(ToolUseBlock, ids, st.just("t"), st.dictionaries(texts, st.integers(), max_size=1), states),
    st.builds(ToolResultBlock, ids, texts, st.booleans()),
)
any_message = st.builds(
    Message, st.sampled_from(["user", "assistant"]), st.one_of(texts, st.lists(any_block, max_size=5))
)
histories = st.lists(any_message, max_size=8)


def blocks_of(message: Message) -> list[Block]:
    return [TextBlock(message.content)] if isinstance(message.content, str) else message.content


def results_of(message: Message) -> list[str]:
    return [block.tool_use_id for block in blocks_of(message) if isinstance(block, ToolResultBlock)]


def is_sound(history: list[Message], *, open_end: bool = True) -> bool:
    """Every call has one result, in the next message; every result its call; no block stands with the wrong role."""
    waiting: list[str] = []
    for message in history:
        if sorted(results_of(message)) != sorted(waiting):
            return False
        waiting = [use.id for use in tool_uses(message)]
        if len(set(waiting)) != len(waiting) or (waiting and message.role != "assistant"):
            return False
        wrong = (ThinkingBlock, ToolUseBlock) if message.role == "user" else (ToolResultBlock,)
        if any(isinstance(block, wrong) for block in blocks_of(message)):
            return False
    return open_end or not waiting


def said(history: list[Message]) -> list[str]:
    return [b.text for m in history for b in blocks_of(m) if isinstance(b, TextBlock) and b.text]


@given(histories)
def test_any_history_is_sound_when_mended_keeps_every_text_and_is_mended_once(history: list[Message]) -> None:
    fixed = mended(history)
    assert is_sound(fixed)
    assert mended(fixed) == fixed
    assert said(fixed) == said(history)
    pictures = [b for m in history for b in blocks_of(m) if isinstance(b, ImageBlock)]
    assert [b for m in fixed for b in blocks_of(m) if isinstance(b, ImageBlock)] == pictures
    given_contents = {b.content for m in history for b in blocks_of(m) if isinstance(b, ToolResultBlock)}
    for message in fixed:
        for block in blocks_of(message):
            if isinstance(block, ToolResultBlock):
                assert block.content in given_contents or (block.is_error and "never answered" in block.content)
    if history == fixed:
        assert all(one is other for one, other in zip(history, fixed, strict=True)), "sound, and yet made anew"


def test_results_in_messages_of_their_own_are_all_found() -> None:
    history = [
        Message("user", "go"),
        Message("assistant", [ToolUseBlock("a", "t", {}), ToolUseBlock("a", "t", {}), ToolUseBlock("b", "t", {})]),
        Message("user", [ToolResultBlock("a", "first")]),
        Message("user", [ToolResultBlock("a", "second"), ToolResultBlock("a", "third")]),
        Message("user", [ToolResultBlock("b", "B"), TextBlock("and?")]),
    ]
    fixed = mended(history)
    assert [use.id for use in tool_uses(fixed[1])] == ["a", "a_2", "b"]
    assert [(r.tool_use_id, r.content) for r in fixed[2].content if isinstance(r, ToolResultBlock)] == [  # type: ignore[union-attr]
        ("a", "first"),
        ("a_2", "second"),
        ("b", "B"),
    ]
    assert fixed[3] == Message("user", [TextBlock("and?")])


# ── what the wires write of it ──────────────────────────────────────────────────────────────────────────

MODELS = {
    "openai": "gpt-4o",
    "openai-responses": "gpt-5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-pro",
    "ollama": "llama3",
}


def written(name: str, history: list[Message], system: str | None = "S") -> list[bytes]:
    """The turns of a request as the wire writes them, one by one."""
    spoken = wire(name, name.partition("-")[0])
    body = spoken.exchange(Conversation(history, system), Options(model=MODELS[name])).request.body
    parts = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    turns = parts[{"gemini": "contents", "openai-responses": "input"}.get(name, "messages")]
    return [bytes(turn) for turn in msgspec.json.decode(turns, type=list[msgspec.Raw])]


@pytest.mark.parametrize("name", NAMES)
@given(histories)
def test_every_mended_history_is_one_that_the_wire_takes(name: str, history: list[Message]) -> None:
    turns: list[dict[str, Any]] = [
        msgspec.json.decode(turn) for turn in written(name, mended([*history, Message("user", "now")]))
    ]
    waiting: list[str] = []
    for turn in turns:
        if name == "gemini":
            asked = [p["functionCall"]["name"] for p in turn["parts"] if "functionCall" in p]
            given_back = [p["functionResponse"]["name"] for p in turn["parts"] if "functionResponse" in p]
            assert given_back == waiting
            waiting = asked
        elif name == "anthropic":
            given_back = [b["tool_use_id"] for b in turn["content"] if b["type"] == "tool_result"]
            assert sorted(given_back) == sorted(waiting)
            waiting = [b["id"] for b in turn["content"] if b["type"] == "tool_use"]
        elif name == "openai-responses" and "function_call" in turn.get("type", ""):
            if turn["type"] == "function_call":
                waiting.append(turn["call_id"])
            else:
                waiting.remove(turn["call_id"])
        elif turn["role"] == "tool":
            waiting.remove(turn["tool_call_id"])
        else:
            same_turn = name == "openai-responses" and turn["role"] == "assistant"  # items of one answer
            assert waiting == [] or same_turn
            waiting += [call["id"] for call in turn.get("tool_calls", ())]
    assert waiting == []


exchanges = st.lists(
    st.tuples(
        st.one_of(texts.filter(str.strip), st.none()),  # a prompt; None: only results, if any wait
        st.lists(
            st.one_of(
                st.builds(TextBlock, st.text(alphabet="xyz", min_size=1, max_size=3)),
                st.builds(ThinkingBlock, texts, states),
                st.builds(ToolUseBlock, ids, st.just("t"), st.just({"n": 1}), states),
            ),
            max_size=4,
        ),
        st.integers(0, 3),  # how many of the waiting calls get a result
    ),
    min_size=2,
    max_size=6,
)


@settings(max_examples=60)
@given(exchanges)
def test_each_requests_history_begins_with_the_bytes_of_the_one_before_on_every_wire(talk: list[Any]) -> None:
    store = Store()
    session = store.get("s")
    before: dict[str, bytes] = {}
    with store.turn_of(session):
        hashes = [session.prefix_sha256()]
        for prompt, answer, answered in talk:
            results = [ToolResultBlock(use.id, "R") for use in session.unanswered()][:answered]
            user = (
                Message("user", [*results, *([TextBlock(prompt or "go on")])])
                if results
                else Message("user", prompt or "go on")
            )
            history = mended([*session.messages, user])
            for name in NAMES:
                turns = b",".join(written(name, history))
                assert turns.startswith(before.get(name, b"")), name
                before[name] = turns.rstrip(b"]}")  # neighbours of one role are one turn on some wires
            blocks = [block for block in answer if isinstance(block, TextBlock | ThinkingBlock | ToolUseBlock)]
            store.commit(session, "S", [user, Message("assistant", blocks or "ok")])
            assert session.messages[: len(history)] == history, "what is stored is not what was sent"
            hashes.append(session.prefix_sha256())
    digest = hashlib.sha256(msgspec.json.encode(Message("system", "S")) + b"\n")
    for message in session.messages:
        digest.update(msgspec.json.encode(message) + b"\n")
    assert hashes[-1] == digest.hexdigest() == at_once(session.prefix_of(len(session.messages)))
    assert len(set(hashes)) == len(hashes)


# ── cutting ─────────────────────────────────────────────────────────────────────────────────────────────


@given(histories, st.one_of(st.none(), st.integers(0, 8)), st.one_of(st.none(), st.integers(0, 60)))
def test_what_is_shortened_is_sound_begins_with_a_prompt_and_is_within_the_limits(
    history: list[Message], max_messages: int | None, max_tokens: int | None
) -> None:
    history = mended(history)
    kept = shortened(history, max_messages, max_tokens)
    if kept is None:
        assert history
        return
    assert is_sound(kept)
    assert max_messages is None or len(kept) <= max_messages
    assert max_tokens is None or measure(kept).tokens <= max_tokens
    if kept:
        assert begins_turn(kept[0])
        plain = [[b for b in blocks_of(m) if not isinstance(b, ThinkingBlock)] for m in kept]
        ends = [[b for b in blocks_of(m) if not isinstance(b, ThinkingBlock)] for m in history]
        assert plain[-1] == ends[-1], "the newest message is always kept"
        assert all(each in ends for each in plain)


def round_of(number: int) -> list[Message]:
    thinking = ThinkingBlock("hm", {"wire": "anthropic", "signature": str(number)})
    return [
        Message("assistant", [thinking, ToolUseBlock(f"c{number}", "t", {})]),
        Message("user", [ToolResultBlock(f"c{number}", "R")]),
    ]


def test_a_long_turn_keeps_its_prompt_and_its_newest_rounds() -> None:
    rounds = [message for number in range(5) for message in round_of(number)]
    history = [
        Message("user", "old"),
        Message("assistant", "ok"),
        Message("user", "go"),
        *rounds,
        Message("assistant", "done"),
    ]
    kept = shortened(history, 6, None)
    assert kept is not None
    assert [message.role for message in kept] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert kept[0] == Message("user", "go")
    assert [use.id for message in kept for use in tool_uses(message)] == ["c3", "c4"]
    assert not any(isinstance(b, ThinkingBlock) for m in kept for b in blocks_of(m)), (
        "reasoning bound to what is gone"
    )
    assert shortened(history, 1, None) is None
    assert shortened(history, 0, None) == []
    assert shortened(history, 100, 10_000) == history


def test_a_turn_whose_calls_still_wait_keeps_its_reasoning() -> None:
    history = [Message("user", "old"), Message("assistant", "ok"), Message("user", "go"), round_of(1)[0]]
    assert shortened(history, 2, None) == history[2:]


def test_measures_add_up_and_weigh_at_least_their_json() -> None:
    history = [
        Message("user", "go 漢字 \x01"),
        *round_of(1),
        Message("assistant", [ImageBlock("image/png", b"x" * 30_000)]),
    ]
    parts = [measure([message]) for message in history]
    assert measure(history) == sum(parts[1:], parts[0])
    assert measure(history).bytes == sum(len(msgspec.json.encode(message)) for message in history)
    assert measure(history).tokens < 1700, "a picture is not its base64"
    assert weight(history) >= len(msgspec.json.encode(history))
    assert len(turn_starts(history)) == 1
    bomb = Message("assistant", [ToolUseBlock("a", "t", {"x": [{}] * 1000})])
    assert weight([bomb]) > 64 * 1000, "empty tables weigh more than their two bytes"


def test_usage_adds_up_what_was_said_and_should_compact_looks_at_the_last_exchange() -> None:
    session = Session("s", None)
    turn = [Message("user", "a" * 400), Message("assistant", "b" * 400)]
    session.commit(None, turn, None)
    assert session.usage is None
    assert session.should_compact(None) is False
    assert session.should_compact(200) is True, "estimated: the server did not count"
    assert session.should_compact(1000) is False
    session.commit(None, turn, Usage(input=1000, output=10, total=1010))
    session.commit(None, turn, Usage(input=1500, output=20, cache_read=900))
    assert session.usage == Usage(input=2500, output=30, cache_read=900, total=1010)
    assert session.should_compact(1520) is True
    assert session.should_compact(1521) is False
    session.rewrite(turn)
    assert session.should_compact(1000) is False
    assert session.usage is not None and session.usage.input == 2500
