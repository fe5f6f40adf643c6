"""response_schema: an answer that fits is result.parsed, any other is invalid_response with the text, on every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trio_tests import echo_config, in_trio

from luahost import Grant, Host, Source
from luahost.testing import EchoModel

ASK = "return function(a) return orcs.llm('x', {session_id = 's', response_schema = a.schema, max_tokens = a.max_tokens, on_delta = a.stream and function() end or nil}) end"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


async def answer_to(said: str, *, stream: bool = False, max_tokens: int | None = None) -> dict[str, Any]:
    with EchoModel(reply=lambda messages: said) as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm()])
            asked = {"schema": SCHEMA, "stream": stream} | ({"max_tokens": max_tokens} if max_tokens else {})
            result: dict[str, Any] = await vm.run(asked)
            result["messages"] = json.loads(vm.sessions.dump())["s"]
        assert echo.requests[0].body["response_format"]["json_schema"]["schema"]["required"] == ["name"]
    return result


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_fits_is_parsed(stream: bool) -> None:
    @in_trio
    async def case() -> None:
        answer = await answer_to('{"name": "Ada", "age": 36}', stream=stream)
        assert answer["ok"], answer
        assert answer["parsed"] == {"name": "Ada", "age": 36}
        assert answer["content"] == '{"name": "Ada", "age": 36}'

    case()


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```\n", "\n```JSON\r\n{}\r\n```"])
def test_a_whole_answer_in_a_fence_is_what_is_in_it(fence: str) -> None:
    @in_trio
    async def case() -> None:
        answer = await answer_to(fence.replace("{}", '{"name": "Ada"}'))
        assert answer["parsed"] == {"name": "Ada"}, answer

    case()


@pytest.mark.parametrize(
    ("said", "path", "reason"),
    [
        ("Sure! Ada it is.", "", "json_parse"),
        ('Here: {"name": "Ada"}', "", "json_parse"),
        ('```json\n{"name": "Ada"}\n``` I hope it helps', "", "json_parse"),
        ('{"name": "Ada"', "", "json_parse"),
        ('{"age": 3}', "answer.name", "required"),
        ('{"name": 5}', "answer.name", "string expected"),
        ('{"name": "a", "age": -1}', "answer.age", ""),
        ('{"name": "a", "more": 1}', "answer.more", ""),
        ("[1]", "answer", "object expected"),
        ("null", "answer", "object expected"),
    ],
)
def test_an_answer_that_does_not_fit_says_where_and_why_and_keeps_the_text(
    said: str, path: str, reason: str
) -> None:
    @in_trio
    async def case() -> None:
        answer = await answer_to(said)
        assert (answer["ok"], answer["error_kind"]) == (False, "invalid_response"), answer
        assert answer["content"] == said
        assert answer["detail"]["path"].startswith(path), answer
        assert reason in answer["detail"]["reason"], answer
        assert answer["usage"]["output"] > 0  # it was paid for
        assert answer["messages"][1]["content"] == said  # and a script can say what was wrong with it

    case()


@in_trio
async def test_an_answer_cut_off_by_its_length_is_none() -> None:
    answer = await answer_to('{"name": "Ada" , "age": 36}', max_tokens=2)
    assert (answer["error_kind"], answer["truncated"]) == ("invalid_response", True)
    assert "max_tokens" in answer["error"]


@in_trio
async def test_tools_come_first_and_the_last_answer_is_the_one_that_is_judged() -> None:
    def reply(messages: list[dict[str, Any]]) -> str:
        return '{"name": "Ada"}'

    lua = (
        "return orcs.llm('call look {}', {resolve = true, response_schema = {type = 'object', required = {'name'}},\n"
        "tools = {{name = 'look', run = function() return 'seen' end}}})"
    )
    with EchoModel(reply=reply) as echo:
        async with Host(echo_config(echo)) as host:
            answer = await (await host.load(Source(lua), grants=[Grant.llm()])).run()
        assert len(echo.requests) == 2
    assert (answer["ok"], answer["parsed"], answer["turns"]) == (True, {"name": "Ada"}, 2)


@in_trio
async def test_a_schema_without_end_and_an_answer_too_deep_end_in_the_script_and_not_in_the_host() -> None:
    deep = "[" * 5000 + "]" * 5000
    with EchoModel(reply=lambda messages: deep) as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source("return orcs.llm('x', {response_schema = {['$ref'] = '#', type = 'array'}})"),
                grants=[Grant.llm()],
            )
            answer = await vm.run()
    assert (answer["ok"], answer["error_kind"]) == (False, "invalid_response")
