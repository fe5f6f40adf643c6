"""on_event: the one vocabulary, as tables, in order, under the same back-pressure as on_delta."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from servers import FaultServer, drip_sse, openai_chunk, openai_delta, sequence, status
from test_llm import config_for
from trio_tests import echo_config, in_trio

from luahost import Grant, Host, Source
from luahost.testing import EchoModel

LISTEN = (
    "return function(p, opts) local seen, text = orcs.array{}, {}\n"
    "local r = orcs.llm('one two three', {on_event = function(e) seen[#seen + 1] = e end,\n"
    "  on_delta = function(t) text[#text + 1] = t end, tools = {{name = 'look', parameters = {type = 'object'}}}})\n"
    "return {r, seen, table.concat(text)} end"
)


@in_trio
async def test_every_event_comes_once_in_order_and_both_callbacks_hear_the_text() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(LISTEN), grants=[Grant.llm()])
            result, seen, text = await vm.run()
    kinds = [event["type"] for event in seen]
    assert kinds[0] == "start" and kinds[-1] == "end"
    assert kinds.count("start") == kinds.count("end") == kinds.count("usage") == 1
    assert "".join(event["text"] for event in seen if event["type"] == "text") == text == result["content"]
    assert seen[-1]["stop_reason"] == result["stop_reason"]
    assert next(event for event in seen if event["type"] == "usage")["total"] == result["usage"]["total"]


@in_trio
async def test_a_retry_and_a_tool_call_are_events_too() -> None:
    call = json.dumps(
        {
            "choices": [
                {
                    "delta": {
                        "tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": "{}"}}]
                    },
                    "finish_reason": "tool_calls",
                }
            ]
        }
    ).encode()

    def answer(conn: Any) -> None:
        conn.read_request()
        conn.sse([openai_delta("well"), call, b"[DONE]"])

    with FaultServer(sequence([status(503, b"{}", {"retry-after-ms": "1"}), answer])) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(Source(LISTEN), grants=[Grant.llm()])
            result, seen, _ = await vm.run()
    assert result["ok"], result
    retry = seen[0]
    assert (retry["type"], retry["attempt"], retry["error_kind"]) == ("retry", 1, "overloaded")
    called = next(event for event in seen if event["type"] == "tool_call")
    assert (called["id"], called["name"], called["params"]) == ("c1", "look", {})
    assert seen[-1] == {"type": "end", "stop_reason": "tool_use"}
    assert result["attempts"] == 2


@in_trio
async def test_false_from_on_event_stops_the_stream_and_what_came_is_kept() -> None:
    with FaultServer(drip_sse(None, 0.005)) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local n = 0 return orcs.llm('x', {session_id = 's', on_event = function(e)\n"
                    "if e.type == 'text' then n = n + 1 end return n < 3 end}) end"
                ),
                grants=[Grant.llm()],
            )
            answer = await vm.run()
            assert len(json.loads(vm.sessions.dump())["s"]) == 2
    assert (answer["ok"], answer["stop_reason"]) == (True, "cancelled")
    assert answer["content"]


@in_trio
async def test_false_before_anything_was_said_leaves_no_turn_behind() -> None:
    with FaultServer(status(503, b"{}", {"retry-after-ms": "400"})) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return orcs.llm('x', {session_id = 's', on_event = function(e) return e.type ~= 'retry' end})"
                ),
                grants=[Grant.llm()],
            )
            answer = await vm.run()
            dump = json.loads(vm.sessions.dump())
        assert len(server.requests) == 1
    assert (answer["ok"], answer["stop_reason"], answer["content"]) == (True, "cancelled", "")
    assert dump == {}


@in_trio
async def test_a_slow_on_event_slows_the_server() -> None:
    sent = 0

    def flood(conn: Any) -> None:
        nonlocal sent
        conn.read_request()
        for _ in range(3000):
            conn.sse([openai_delta("x" * 4000)], end=False)
            sent += 1

    with FaultServer(flood) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local n = 0 orcs.llm('x', {on_event = function(e) n = n + 1\n"
                    "if n < 4 then orcs.sleep(0.1) end return n < 100 end}) return n end"
                ),
                grants=[Grant.llm()],
            )
            assert await vm.run() == 100
    assert sent < 2900


@pytest.mark.parametrize("callback", ["on_event", "on_delta"])
def test_an_error_in_a_callback_reaches_the_script(callback: str) -> None:
    @in_trio
    async def case() -> None:
        with EchoModel() as echo:
            async with Host(echo_config(echo)) as host:
                vm = await host.load(
                    Source(
                        f"return function() return {{pcall(orcs.llm, 'x', {{{callback} = function() error('enough', 0) end}})}} end"
                    ),
                    grants=[Grant.llm()],
                )
                assert await vm.run() == [False, "enough"]

    case()


@in_trio
async def test_a_script_that_changes_an_event_changes_only_its_own() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local text = {} local r = orcs.llm('a b', {\n"
                    "on_event = function(e) e.type = 'text' e.text = {} setmetatable(e, {__index = function() error('no') end}) end,\n"
                    "on_delta = function(t) text[#text + 1] = t end}) return {r.content, table.concat(text)} end"
                ),
                grants=[Grant.llm()],
            )
            assert await vm.run() == ["You said: a b", "You said: a b"]


@in_trio
async def test_an_image_the_model_makes_comes_as_bytes_as_an_event_and_stays_in_the_session() -> None:
    png = b"\x89PNG\r\n\x1a\n\xff\x00"
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    chunk = {"choices": [{"delta": {"images": [{"type": "image_url", "image_url": {"url": url}}]}}]}

    def answer(conn: Any) -> None:
        conn.read_request()
        conn.sse([json.dumps(chunk).encode(), openai_chunk({}, "stop"), b"[DONE]"])

    with FaultServer(answer) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local image local r = orcs.llm('x', {session_id = 's', on_event = function(e)\n"
                    "if e.type == 'image' then image = e end end}) return {r, image} end"
                ),
                grants=[Grant.llm()],
            )
            result, event = await vm.run()
            dump = json.loads(vm.sessions.dump())
    assert result["ok"], result
    assert result["images"] == [{"media_type": "image/png", "data": png}]
    assert event == {"type": "image", "media_type": "image/png", "data": png}
    assert dump["s"][1]["content"][0]["type"] == "image"
