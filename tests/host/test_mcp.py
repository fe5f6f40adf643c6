"""MCP servers for scripts, under the grant `mcp`: real servers of the official package, as processes and over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from servers import unused_port
from trio_tests import children, echo_config, in_trio

from luahost import Config, Grant, Host, Limits, Source
from luahost.config import read_file
from luahost.errors import ConfigError
from luahost.ops.mcp.settings import McpServer
from luahost.testing import EchoModel

pytest.importorskip("mcp", reason="the extra mcp is not installed")

SERVER = str(Path(__file__).parent.parent / "mcp_server.py")
CALL = "return function(a) return orcs[a[1]](a[2], a[3], a[4]) end"


def config(**more: Any) -> Config:
    demo = McpServer(command=[sys.executable, SERVER], **more)
    return Config(mcp={"demo": demo, "other": McpServer(command=["/nowhere/at-all"])})


async def ask(host: Host, grant: Grant | None, *call: Any) -> Any:
    vm = await host.load(Source(CALL), grants=[] if grant is None else [grant])
    try:
        return await vm.run(list(call))
    finally:
        await vm.close()


@in_trio
async def test_tools_are_listed_and_called_and_a_failure_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LUAHOST_TEST_PLAIN", "p")
    async with Host(config(env=["LUAHOST_TEST_PLAIN"])) as host:
        mcp = Grant("mcp")
        assert (await ask(host, mcp, "mcp_servers"))["servers"] == [{"name": "demo"}, {"name": "other"}]
        tools = (await ask(host, mcp, "mcp_tools", "demo"))["tools"]
        add = next(tool for tool in tools if tool["tool"] == "add")
        assert add["name"] == "mcp__demo__add" and add["parameters"]["required"] == ["a", "b"]
        sum_ = await ask(host, mcp, "mcp_call", "demo", "add", {"a": 2, "b": 3})
        assert sum_ == {"ok": True, "content": "5", "structured": {"result": 5}}
        assert (await ask(host, mcp, "mcp_call", "demo", "fail"))["error_kind"] == "tool_error"
        assert (await ask(host, mcp, "mcp_call", "demo", "add", {"a": "x"}))["error_kind"] == "tool_error"
        assert (await ask(host, mcp, "mcp_call", "demo", "none"))["ok"] is False
        seen = (await ask(host, mcp, "mcp_call", "demo", "environment"))["content"].split(",")
        assert "LUAHOST_TEST_PLAIN" in seen and "OPENAI_API_KEY" not in seen
    assert not [pid for pid in children() if b"mcp_server" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@in_trio
async def test_a_script_reaches_the_servers_and_tools_of_its_grant_and_no_others() -> None:
    records: list[dict[str, Any]] = []
    async with Host(config(), audit=records.append) as host:
        assert (await ask(host, None, "mcp_call", "demo", "add"))["error_kind"] == "permission_denied"
        narrow = Grant("mcp", servers=["demo"], tools=["add"], max_calls=1)
        assert (await ask(host, narrow, "mcp_servers"))["servers"] == [{"name": "demo"}]
        assert [tool["tool"] for tool in (await ask(host, narrow, "mcp_tools"))["tools"]] == ["add"]
        assert (await ask(host, narrow, "mcp_call", "demo", "leave"))["error_kind"] == "tool_not_allowed"
        assert (await ask(host, narrow, "mcp_call", "other", "add"))["detail"]["rule"] == "servers"
        assert (await ask(host, narrow, "mcp_call", "demo", "add", {"a": 1, "b": 1}))["ok"]
        assert (await ask(host, narrow, "mcp_call", "demo", "add", {"a": 1, "b": 1}))[
            "error_kind"
        ] == "budget_exceeded"
        unknown = await ask(host, Grant("mcp"), "mcp_call", "dmo", "add")
        assert unknown["error_kind"] == "invalid_options" and "'demo'" in unknown["error"]
    called = [record for record in records if record.get("tool") == "add" and record["decision"] == "allow"]
    assert len(called) == 1 and called[0]["server"] == "demo"


@in_trio
async def test_a_server_that_ends_is_started_again_and_one_that_is_not_there_says_so() -> None:
    async with Host(config()) as host:
        mcp = Grant("mcp")
        assert (await ask(host, mcp, "mcp_call", "other", "x"))["error_kind"] == "mcp_unavailable"
        gone = await ask(host, mcp, "mcp_call", "demo", "leave")
        assert gone["error_kind"] == "mcp_unavailable" and gone["retryable"]
        assert (await ask(host, mcp, "mcp_call", "demo", "add", {"a": 1, "b": 2}))["content"] == "3"


@pytest.mark.alone
@in_trio
async def test_a_call_has_a_time_limit_and_a_cancel_and_a_large_result_is_refused() -> None:
    async with Host(config(timeout_s=2)) as host:
        mcp = Grant("mcp")
        assert (await ask(host, mcp, "mcp_call", "demo", "add", {"a": 1, "b": 1}))["ok"]
        vm = await host.load(Source(CALL), grants=[mcp], limits=Limits(value_bytes=50_000))
        assert (await vm.run(["mcp_call", "demo", "flood", {"size": 60_000}]))["error_kind"] == "too_large"
        began = time.monotonic()
        with trio.move_on_after(0.2):
            await vm.run(["mcp_call", "demo", "sleep", {"seconds": 1}])
        assert time.monotonic() - began < 1
        slow = await ask(host, mcp, "mcp_call", "demo", "sleep", {"seconds": 8})
        assert slow["error_kind"] == "timeout" and slow["detail"]["phase"] == "overall"


@pytest.fixture
def over_http() -> Iterator[str]:
    port = unused_port()
    process = subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


ODD = {
    "image": '{"content": [{"type": "image", "data": "!!! no base64", "mimeType": "image/png"}]}',
    "endless": '{"content": [], "structuredContent": {"a": [Infinity]}}',
    "huge": '{"content": [], "structuredContent": {"a": 1' + "0" * 30 + "}}",
    "deep": '{"content": [], "structuredContent": {"a": ' + "[" * 80 + "]" * 80 + "}}",
}
ODD_SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        about = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {}}
        answer = json.dumps({**about, "serverInfo": {"name": "odd", "version": "1"}})
    elif asked["method"] == "tools/list":
        answer = '{"tools": []}'
    else:
        answer = ODD.get(asked.get("params", {}).get("name"), '{"content": []}')
    if "id" in asked:
        print('{"jsonrpc": "2.0", "id": %d, "result": %s}' % (asked["id"], answer), flush=True)
"""


@in_trio
async def test_what_lua_has_no_form_for_is_said_and_the_server_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(f"ODD = {ODD!r}\n{ODD_SERVER}")
    odd = McpServer(command=[sys.executable, str(tmp_path / "odd.py")])
    async with Host(Config(mcp={"odd": odd})) as host:
        for name in ODD:
            assert (await ask(host, Grant("mcp"), "mcp_call", "odd", name))["error_kind"] == "invalid_response"
        assert (await ask(host, Grant("mcp"), "mcp_call", "odd", "plain"))["ok"]


# The package leaves what it was reading, when it is told to end, to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@in_trio
async def test_a_server_is_spoken_to_over_http_too(over_http: str) -> None:
    async with Host(Config(mcp={"web": McpServer(url=over_http)})) as host:
        with trio.fail_after(20):
            while True:
                told = await ask(host, Grant("mcp"), "mcp_call", "web", "add", {"a": 20, "b": 22})
                if told["ok"]:
                    break
                assert told["error_kind"] == "mcp_unavailable", told
                await trio.sleep(0.1)
        assert told["content"] == "42"


@in_trio
async def test_a_model_calls_an_mcp_tool_like_any_other() -> None:
    script = Source(
        """
        local tools = assert(orcs.mcp_as_tools("demo"))
        return function(prompt) return orcs.llm(prompt, { tools = tools, resolve = true }) end
        """
    )
    with EchoModel() as echo:
        made = echo_config(echo)
        both = Config(providers=made.providers, provider=made.provider, mcp=config().mcp)
        async with Host(both) as host:
            vm = await host.load(script, grants=[Grant.llm(), Grant("mcp")])
            answer = await vm.run('call mcp__demo__add {"a": 2, "b": 40}')
    assert answer["turns"] == 2 and "42" in answer["content"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[mcp.x]\ncommand = ["a"]\nurl = "http://a"', "and not both"),
        ("[mcp.x]\n", "command = "),
        ("[mcp.x]\ncommand = []", "empty"),
        ('[mcp.x]\nurl = "file:///x"', "http"),
        ('[mcp.x]\ncomand = ["a"]', "did you mean 'command'"),
        ('[mcp."a b"]\ncommand = ["a"]', "letters"),
        ('[mcp.x]\ncommand = ["a"]\ntimeout_s = 0', "seconds"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_file(tmp_path / "c.toml")
    assert words in error.value.message and "mcp" in error.value.message
