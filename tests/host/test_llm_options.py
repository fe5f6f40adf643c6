"""What a script may say to orcs.llm: each option reaches the server as it was meant, or is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from servers import FaultServer, status
from trio_tests import echo_config, in_trio

from luahost import Config, Grant, Host, Provider, Source
from luahost.ops.llm.options import KNOWN
from luahost.testing import EchoModel

ASK = "return function(a) return orcs.llm(a.prompt, a.opts) end"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\xff" * 20


async def ask(host: Host, opts: dict[str, Any], grant: Grant | None = None, prompt: str = "x") -> dict[str, Any]:
    vm = await host.load(Source(ASK), grants=[grant or Grant.llm()])
    result: dict[str, Any] = await vm.run({"prompt": prompt, "opts": opts})
    return result


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"effort": "hihg"}, "effort", "did you mean 'high'"),
    ({"thinking": "hihg"}, "thinking", "did you mean 'high'"),
    ({"cache": {"sytem": True}}, "cache.sytem", "did you mean 'system'"),
    ({"cache": {"turns": 9}}, "cache.turns", "from 0 to 4"),
    ({"cache": {"ttl": "2h"}}, "cache.ttl", ""),
    ({"tools": [{"name": "a"}, {"name": "b", "descrption": "x"}]}, "tools[2].descrption", "'description'"),
    (
        {"tools": [{"name": "a", "parameters": {"type": "object", "title": b"\xff"}}]},
        "tools[1].parameters.title",
        "",
    ),
    ({"tools": [{"name": "a"}], "tool_choice": "b"}, "tool_choice", "one of the tools"),
    ({"response_schema": {}}, "response_schema", "empty"),
    ({"response_schema": {"title": b"\xff"}}, "response_schema.title", "UTF-8"),
    ({"response_schema": "x"}, "response_schema", "a table expected"),
    ({"keep_alive": "soon"}, "keep_alive", "5m"),
    ({"provider_order": ["a b"]}, "provider_order", ""),
    ({"compact_at": 0}, "compact_at", ""),
    ({"strict": 1}, "strict", "true or false"),
    ({"images": [{}]}, "images[1]", "one of data, url, path"),
    ({"images": [{"data": b"GIF89a", "url": "https://a.test/"}]}, "images[1]", "data and url"),
    ({"images": [{"data": b"nothing known\xff"}]}, "images[1].media_type", "PNG"),
    ({"images": [{"data": PNG, "media_type": "text/html"}]}, "images[1].media_type", ""),
    ({"images": [{"data": 5}]}, "images[1].data", "bytes expected"),
    ({"images": [{"url": "http://a.test/x.png"}]}, "images[1].url", "https"),
    ({"images": [{"url": "https://u:p@a.test/x.png"}]}, "images[1].url", ""),
    ({"images": [{"url": "https://169.254.169.254/latest"}]}, "images[1].url", "public host"),
    ({"images": [{"url": "https://localhost/x.png"}]}, "images[1].url", ""),
    ({"images": [{"url": "https://a.test/x.png"}]}, "images[1].url", "inside this network"),
    ({"images": [{"data": PNG}] * 21}, "images", "at most 20"),
    ({"fallback": ["opnai/gpt-4o"]}, "fallback[1].provider", "did you mean 'openai'"),
    ({"fallback": ["echo", {"modle": "x"}]}, "fallback[2].modle", "did you mean 'model'"),
    ({"fallback": [{"model": "a b"}]}, "fallback[1].model", ""),
    ({"fallback": [""]}, "fallback[1]", "provider/model"),
    ({"fallback_on": ["overlaoded"]}, "fallback_on", "did you mean 'overloaded'"),
    ({"extra_headers": {"X-A": 1}}, "extra_headers[...]", "a text expected"),
    ({"extra_headers": {"X-A": "a\r\nb: c"}}, "extra_headers.X-A", "one line"),
    ({"extra_headers": {"Authorization": "Bearer x"}}, "extra_headers.Authorization", "never"),
    ({"extra_headers": {"Host": "evil"}}, "extra_headers.Host", "never"),
    ({"extra_headers": {"transfer-encoding": "chunked"}}, "extra_headers.transfer-encoding", "never"),
    ({"extra_body": {"model": "gpt-5"}}, "extra_body.model", "never"),
    ({"extra_body": {"max_tokens": 1}}, "extra_body.max_tokens", "never"),
    (
        {"extra_body": {"generationConfig": {"maxOutputTokens": 9}}},
        "extra_body.generationConfig.maxOutputTokens",
        "",
    ),
    ({"extra_body": {"options": {"num_predict": 9}}}, "extra_body.options.num_predict", ""),
    ({"extra_body": {"options": []}}, "extra_body.options", "a table expected"),
    ({"extra_body": {"generationConfig": None}}, "extra_body.generationConfig", "a table expected"),
]


@in_trio
async def test_what_is_wrong_is_named_by_its_path_and_nothing_is_sent() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm(extra=True)])
            for opts, field, words in WRONG:
                answer = await vm.run({"prompt": "x", "opts": opts})
                assert answer["ok"] is False, opts
                assert (answer["error_kind"], answer["detail"]["field"]) == ("invalid_options", field), (
                    opts,
                    answer,
                )
                assert words in answer["error"], answer["error"]
                assert "\n" not in answer["error"]
                assert (answer["detail"]["attempts"], answer["detail"]["billed"]) == (0, "no")
        assert echo.requests == []


@in_trio
async def test_a_number_that_is_none_is_named_where_it_stands() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function() local nan = 0/0 local r = orcs.llm('x', {temperature = nan})\n"
                "local s = orcs.llm('x', {tools = {{name = 'a', parameters = {maximum = 1/0}}}}) return {r, s} end"
            ),
            grants=[Grant.llm()],
        )
        first, second = await vm.run()
    assert (first["error_kind"], first["detail"]["field"]) == ("invalid_options", "temperature")
    assert (second["error_kind"], second["detail"]["field"]) == ("invalid_options", "tools[1].parameters.maximum")


@in_trio
async def test_an_option_that_is_null_is_as_if_it_was_not_there() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            lua = "return orcs.llm('x', {response_schema = orcs.null, on_event = orcs.null, stop = orcs.null, tools = orcs.null})"
            answer = await (await host.load(Source(lua), grants=[Grant.llm()])).run()
    assert (answer["ok"], answer["content"]) == (True, "You said: x")


@in_trio
async def test_options_go_out_as_they_were_meant_and_whole_numbers_whole() -> None:
    lua = """return orcs.llm('x', {
      seed = 7.0, top_p = 0.5, stop = {'END'}, max_tokens = 50,
      tools = {{name = 'a', description = 'd', parameters = {type = 'object', properties = {n = {type = 'integer', maximum = 100.0}}}}},
      tool_choice = 'a', parallel_tool_calls = false,
      response_schema = {type = 'object', properties = {n = {maxLength = 3.0, minimum = 0.5}}},
      extra_body = {service_tier = 'flex', metadata = {deep = {1.0, 2.5}}}, extra_headers = {['X-Trace'] = 'abc'}})"""
    with EchoModel() as echo:
        made = Provider(name="openai", base_url=echo.url, model="gpt-4o")
        async with Host(Config(providers={"openai": made}, provider="openai")) as host:
            await (
                await host.load(Source(lua), grants=[Grant.llm(extra=["service_tier", "metadata", "X-*"])])
            ).run()
        request = echo.requests[0]
    body = request.body
    assert (body["seed"], body["top_p"], body["stop"], body["parallel_tool_calls"]) == (7, 0.5, ["END"], False)
    assert body["tool_choice"] == {"type": "function", "function": {"name": "a"}}
    assert '"n": {"maximum": 100, "type": "integer"}' in json.dumps(
        body["tools"]
    )  # by name: the same bytes each run
    assert body["response_format"]["type"] == "json_schema"
    assert '"maxLength": 3,' in json.dumps(body["response_format"])
    assert '"minimum": 0.5' in json.dumps(body["response_format"])
    assert (body["service_tier"], body["metadata"]) == ("flex", {"deep": [1, 2.5]})
    assert request.headers["x-trace"] == "abc"


@pytest.mark.parametrize(
    ("grant", "opts", "rule"),
    [
        (Grant.llm(), {"extra_body": {"service_tier": "flex"}}, "extra"),
        (Grant.llm(), {"extra_headers": {"X-Trace": "1"}}, "extra"),
        (Grant.llm(extra=["x-other"]), {"extra_headers": {"X-Trace": "1"}}, "extra"),
        (Grant.llm().attenuate(extra=True), {"extra_body": {"service_tier": "flex"}}, "extra"),
        (Grant.llm(tools=["look*"]), {"tools": [{"name": "look_up"}, {"name": "delete"}]}, "tools"),
        (Grant.llm(stream=False), {"stream": True}, "stream"),
        (Grant.llm(max_tokens_per_call=10), {"max_tokens": 11}, "max_tokens_per_call"),
    ],
)
def test_what_the_grant_does_not_list_is_refused_and_nothing_is_sent(
    grant: Grant, opts: dict[str, Any], rule: str
) -> None:
    @in_trio
    async def case() -> None:
        with EchoModel() as echo:
            async with Host(echo_config(echo)) as host:
                answer = await ask(host, opts, grant)
                control = await ask(host, opts, Grant.llm(extra=True))
            assert echo.calls == 1
        assert control["ok"], control
        assert (answer["ok"], answer["detail"]["rule"]) == (False, rule)
        if rule == "tools":
            assert answer["error_kind"] == "tool_not_allowed"
        assert grant.usage()["calls"] == 0

    case()


@in_trio
async def test_strict_refuses_what_would_be_dropped_and_says_which() -> None:
    with EchoModel() as echo:
        made = Provider(name="openai", base_url=echo.url, model="o3")
        async with Host(Config(providers={"openai": made}, provider="openai")) as host:
            grant = Grant.llm(max_calls=2)
            strict = await ask(host, {"temperature": 0.5, "strict": True}, grant)
            loose = await ask(host, {"temperature": 0.5}, grant)
            fine = await ask(host, {"seed": 1, "strict": True}, grant)
        assert echo.calls == 2
    assert (strict["error_kind"], strict["detail"]["field"]) == ("invalid_options", "temperature")
    assert loose["ok"] and loose["warnings"]
    assert fine["ok"] and "warnings" not in fine


@in_trio
async def test_images_go_to_the_model_and_stay_in_the_session() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm()])
            opts = {"session_id": "s", "images": [{"data": PNG}]}
            assert (await vm.run({"prompt": "what is it", "opts": opts}))["ok"]
            assert (await vm.run({"prompt": "and now", "opts": {"session_id": "s"}}))["ok"]
            dump = vm.sessions.dump()
            vm.sessions.load(dump)
            assert vm.sessions.dump() == dump
        sent = [request.body["messages"][0]["content"] for request in echo.requests]
    for content in sent:
        kinds = {part["type"] for part in content}
        assert kinds == {"image_url", "text"}
        assert "data:image/png;base64,iVBORw0KGgo" in json.dumps(content)


def test_an_image_of_a_file_needs_a_grant_of_its_own_that_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, data in (("in/a.png", PNG), ("in/b.txt", b"a secret in words"), ("out.png", PNG)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "in/link.png").symlink_to(tmp_path / "out.png")

    @in_trio
    async def case() -> None:
        with EchoModel() as echo:
            async with Host(echo_config(echo)) as host:
                reads = Grant("fs.read", roots=[str(tmp_path / "in")])
                bare = await host.load(Source(ASK), grants=[Grant.llm()])
                vm = await host.load(Source(ASK), grants=[Grant.llm(), reads])
                kinds = []
                for each, name in ((bare, "in/a.png"), (vm, "out.png"), (vm, "in/link.png"), (vm, "in/b.txt")):
                    images = [{"path": str(tmp_path / name)}]
                    answer = await each.run({"prompt": "x", "opts": {"images": images}})
                    kinds.append(answer["error_kind"])
                assert echo.requests == []
                fine = await vm.run({"prompt": "x", "opts": {"images": [{"path": str(tmp_path / "in/a.png")}]}})
            sent = json.dumps(echo.requests[0].body)
        assert kinds == ["permission_denied", "path_not_allowed", "path_not_allowed", "invalid_options"]
        assert fine["ok"] and "data:image/png;base64,iVBORw0KGgo" in sent
        assert reads.usage()["bytes"] == len(PNG) + len(b"a secret in words")

    case()


@in_trio
async def test_a_server_that_repeats_the_key_does_not_give_it_to_the_script(monkeypatch: Any = None) -> None:
    import os

    key = "plain-KEY-0123456789abcdef"  # of no shape that anybody would mask
    os.environ["LUAHOST_TEST_KEY"] = key
    records: list[dict[str, Any]] = []
    bodies = (
        json.dumps({"error": {"message": f"no such key: {key}", "code": key}}).encode(),
        b"x" * 480 + key.encode(),  # cut in the middle of it
        b"the key %s is wrong" % key.encode(),
    )
    try:
        for body in bodies:
            with FaultServer(status(401, body, {"x-request-id": f"r-{key}"})) as server:
                made = Provider(name="p", base_url=server.url, model="m", key_env="LUAHOST_TEST_KEY")
                async with Host(Config(providers={"p": made}, provider="p"), audit=records.append) as host:
                    vm = await host.load(
                        Source(
                            "return function() local seen = {} local r = orcs.llm('x', {on_event = function(e) seen[#seen+1] = e end})\n"
                            "return {r, seen, orcs.llm_ping()} end"
                        ),
                        grants=[Grant.llm()],
                    )
                    answer = await vm.run()
                assert key.encode() in b"".join(
                    value.encode() for value in dict(server.requests[0].headers).values()
                )
            assert answer[0]["error_kind"] == "auth_error"
            for text in (json.dumps(answer), json.dumps(records)):
                assert key not in text and key[:8] not in text, text
    finally:
        del os.environ["LUAHOST_TEST_KEY"]


ODD = """
local odd = {true, false, 0, -1, 1.5, 0/0, 1/0, '', 'x', ('y'):rep(300), '\\255', {}, {1}, {x = 1}, {{}}, {{name = 'a'}}, print,
  coroutine.create(print), setmetatable({}, {__index = error, __len = function() return 9e9 end, __pairs = error})}
return function(names)
  local bad, n = orcs.array{}, 0
  for _, name in ipairs(names) do
    for i, value in ipairs(odd) do
      local opts = {max_retries = 0, overall_timeout = 2, fallback = {'down/x'}, resolve = true, tools = {{name = 't'}}}
      opts[name] = value
      local fine, r = pcall(orcs.llm, 'p', opts)
      n = n + 1
      if not fine and name:sub(1, 3) ~= 'on_' then bad[#bad + 1] = name .. i .. ' raises: ' .. tostring(r) end
      if fine and not r.ok and (r.error_kind == 'internal' or not r.detail.billed or not r.detail.attempts) then
        bad[#bad + 1] = name .. i .. ': ' .. r.error_kind .. ': ' .. r.error
      end
    end
  end
  return {n, bad}
end"""


@in_trio
async def test_no_option_however_odd_raises_or_breaks_the_host() -> None:
    names = [name for name in (*KNOWN, "nonsense") if "." not in name]
    with EchoModel() as echo:
        providers = {
            name: Provider(name=name, base_url=echo.url, model=model)
            for name, model in (("echo", "echo"), ("down", "down"))
        }
        async with Host(Config(providers=providers, provider="echo")) as host:
            vm = await host.load(Source(ODD), grants=[Grant.llm(extra=True)])
            count, bad = await vm.run(names)
    assert bad == []
    assert count == 19 * len(names) > 700
