"""Approval: what is asked is what is done, once; a no, a failure and silence are values, and end nothing."""

from __future__ import annotations

import json
import math
import os
import pty
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from command import COMMAND, config_for, environment
from trio_tests import echo_config, in_trio

from luahost import AllowFor, AllowOnce, ApprovalRequest, Deny, Grant, Host, Source
from luahost.errors import ConfigError
from luahost.testing import EchoModel

CALL = "return function(a) return orcs[a[1]](a[2], a[3], a[4]) end"


class Asked:
    """An approver that answers in turn, the last for ever, and keeps what it was asked."""

    def __init__(self, *answers: Any, wait_s: float = 0.0) -> None:
        self.answers, self.wait_s = list(answers), wait_s
        self.requests: list[ApprovalRequest] = []

    async def __call__(self, request: ApprovalRequest) -> Any:
        self.requests.append(request)
        await trio.sleep(self.wait_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def writing(root: Path) -> Grant:
    return Grant("fs.write", roots=[str(root)], approve="ask")


@in_trio
async def test_a_call_waits_for_the_word_and_does_exactly_what_was_shown_once(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    asked = Asked(AllowOnce(), Deny("not that"), AllowOnce())
    async with Host(approver=asked, audit=records.append) as host:
        vm = await host.load(Source(CALL), grants=[writing(tmp_path)])
        assert (await vm.run(["write", str(tmp_path / "a"), "one"]))["ok"]
        denied = await vm.run(["write", str(tmp_path / "b"), "two"])
        assert denied["error_kind"] == "approval_denied" and "not that" in denied["error"]
        assert (await vm.run(["write", str(tmp_path / "c"), "three"]))["ok"], "a no ends nothing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    first = asked.requests[0]
    assert (first.kind, first.action, first.about["path"]) == ("fs.write", "write", str(tmp_path / "a"))
    assert first.args == {"path": str(tmp_path / "a"), "content": "one"}
    assert [record["rule"] for record in records] == ["approved", "approval_denied", "approved"]
    assert [record["decision"] for record in records] == ["allow", "deny", "allow"]
    assert records[0]["args_sha256"] == first.args_sha256


@in_trio
async def test_without_an_approver_or_with_one_that_fails_or_is_silent_the_answer_is_no(tmp_path: Path) -> None:
    for asked, limit_s, kind in (
        (None, 1.0, "approval_denied"),
        (Asked(RuntimeError("broken")), 1.0, "approval_denied"),
        (Asked("yes"), 1.0, "approval_denied"),
        (Asked(AllowFor(ttl_s=0)), 1.0, "approval_denied"),
        (Asked(AllowOnce(), wait_s=5), 0.05, "approval_timeout"),
    ):
        async with Host(approver=asked, approval_timeout_s=limit_s) as host:
            vm = await host.load(Source(CALL), grants=[writing(tmp_path)])
            assert (await vm.run(["write", str(tmp_path / "a"), "x"]))["error_kind"] == kind
    assert not list(tmp_path.iterdir())


@in_trio
async def test_what_the_grant_refuses_is_not_asked_about_and_a_denied_call_takes_nothing(tmp_path: Path) -> None:
    asked = Asked(Deny(), AllowOnce())
    async with Host(approver=asked) as host:
        grant = Grant("fs.write", roots=[str(tmp_path)], approve="ask", max_calls=1)
        vm = await host.load(Source(CALL), grants=[grant])
        assert (await vm.run(["write", "/etc/x", "x"]))["error_kind"] == "path_not_allowed"
        assert not asked.requests
        assert (await vm.run(["write", str(tmp_path / "a"), "x"]))["error_kind"] == "approval_denied"
        assert (await vm.run(["write", str(tmp_path / "a"), "x"]))["ok"], "the denied one was free"
        assert (await vm.run(["write", str(tmp_path / "b"), "x"]))["error_kind"] == "budget_exceeded"
        assert len(asked.requests) == 2


@in_trio
async def test_a_yes_for_a_time_is_for_the_same_thing_of_the_same_vm(tmp_path: Path) -> None:
    asked = Asked(AllowFor(ttl_s=60))
    async with Host(approver=asked) as host:
        one, two = [await host.load(Source(CALL), grants=[writing(tmp_path)]) for _ in range(2)]
        for _ in range(3):
            assert (await one.run(["write", str(tmp_path / "a"), "x"]))["ok"]
        assert len(asked.requests) == 1
        assert (await one.run(["write", str(tmp_path / "b"), "x"]))["ok"]
        assert (await two.run(["write", str(tmp_path / "a"), "x"]))["ok"]
        assert len(asked.requests) == 3, "another path, and another VM, are asked about"
        asked.answers = [AllowFor(ttl_s=0.05, any=True)]
        assert (await two.run(["write", str(tmp_path / "c"), "x"]))["ok"]
        assert (await two.run(["mkdir", str(tmp_path / "d")]))["ok"]
        assert len(asked.requests) == 4
        await trio.sleep(0.06)
        assert (await two.run(["write", str(tmp_path / "e"), "x"]))["ok"]
        assert len(asked.requests) == 5, "its time is over"


@pytest.mark.alone
@in_trio
async def test_several_wait_at_once_and_a_revoke_a_cancel_and_an_expiry_end_the_wait() -> None:
    asked = Asked(AllowOnce(), wait_s=30)
    script = "return function(n) return orcs.map({1, 2, 3}, function(i) return orcs.llm('x' .. i) end) end"
    with EchoModel() as echo:
        async with Host(echo_config(echo), approver=asked) as host:
            for end in ("revoke", "cancel", "expiry"):
                grant = Grant.llm(approve="ask", **({"expires_in_s": 0.3} if end == "expiry" else {}))
                vm = await host.load(Source(script), grants=[grant])
                asked.requests.clear()
                results: list[Any] = []
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:

                        async def run(vm: Any = vm, results: list[Any] = results) -> None:
                            results.append(await vm.run())

                        nursery.start_soon(run)
                        while len(asked.requests) < 3:  # noqa: ASYNC110
                            await trio.sleep(0.005)
                        assert vm.status == "AwaitingApproval"
                        began = time.monotonic()
                        if end == "revoke":
                            vm.revoke("llm")
                        elif end == "cancel":
                            scope.cancel()
                assert time.monotonic() - began < 1.0
                if end != "cancel":
                    kinds = {each["error_kind"] for each in results[0]}
                    assert kinds == {"capability_revoked" if end == "revoke" else "capability_expired"}
        assert echo.calls == 0


@in_trio
async def test_a_pending_call_stands_in_the_sessions_full_dump_and_is_gone_afterwards() -> None:
    with EchoModel() as echo:
        dumps: list[str] = []

        async def approver(request: ApprovalRequest) -> AllowOnce:
            dumps.append(vm.sessions.dump(full=True))
            return AllowOnce()

        async with Host(echo_config(echo), approver=approver) as host:
            vm = await host.load(Source(CALL), grants=[Grant.llm()])
            await vm.run(["llm", "first", {"session_id": "s"}])
            vm.grant(Grant.llm(approve="ask"))
            assert (await vm.run(["llm", "second", {"session_id": "s"}]))["ok"]
            waiting = json.loads(dumps[0])["sessions"]["s"]["pending"]
            assert waiting[0]["kind"] == "llm" and len(waiting[0]["args_sha256"]) == 64
            assert "pending" not in json.loads(vm.sessions.dump(full=True))["sessions"]["s"]


def test_asking_can_be_added_below_and_never_dropped() -> None:
    assert Grant.parse("llm:approve=ask").constraints.approve == "ask"
    child = Grant.llm(approve="ask").attenuate()
    from luahost.ops.approval import must_ask

    assert must_ask(child) and must_ask(Grant.llm().attenuate(approve="ask"))
    with pytest.raises(ConfigError):
        Grant.llm(approve="never")


@in_trio
async def test_a_capability_is_asked_for_below_the_ceiling_and_nowhere_else() -> None:
    asked = Asked(AllowOnce())
    records: list[dict[str, Any]] = []
    script = "return function(a) local r = orcs.request_capability(a[1], a[2], a[3]) return { r, orcs.caps() } end"
    async with Host(approver=asked, audit=records.append) as host:
        ceiling = [Grant("http", hosts=["a.test", "b.test"], max_calls=10)]
        vm = await host.load(Source(script), ceiling=ceiling)
        refused, _ = await vm.run(["exec", {}, "please"])
        assert refused["error_kind"] == "permission_denied" and not asked.requests
        wider, _ = await vm.run(["http", {"hosts": ["c.test"]}, "please"])
        assert wider["error_kind"] == "capability_widening" and not asked.requests
        assert (await vm.run(["http", {"hots": ["a.test"]}, ""]))[0]["error_kind"] == "invalid_options"
        granted, held = await vm.run(["http", {"hosts": ["a.test"], "max_calls": 2}, "to read \x1b[2Ja page"])
        assert granted["ok"] and held["http"]["remaining"]["calls"] == 2
        assert asked.requests[0].reason == "to read \x1b[2Ja page" and "a.test" in asked.requests[0].about["grant"]
        asked.answers = [Deny("no")]
        assert (await vm.run(["http", {}, ""]))[0]["error_kind"] == "approval_denied"
        asked.answers = [AllowFor(ttl_s=math.inf)]
        assert (await vm.run(["http", {}, ""]))[0]["ok"], "for ever is a time too"
        bare = await host.load(Source(script))
        assert (await bare.run(["http", {}, ""]))[0]["error_kind"] == "permission_denied"
    kinds = [(record["rule"], record["decision"]) for record in records if record["action"] == "request_capability"]
    assert ("approved", "allow") in kinds and ("ceiling", "deny") in kinds and ("approval_denied", "deny") in kinds


@pytest.mark.parametrize(
    ("typed", "code", "said"), [("y\n", 0, "You said"), ("x\na\n", 0, "You said"), ("n\n", 3, "refused")]
)
def test_the_command_asks_on_the_terminal(tmp_path: Path, typed: str, code: int, said: str) -> None:
    (tmp_path / "ask.lua").write_text(
        'local a = orcs.llm("Hello?") if not a.ok then error(a.error) end return a.content'
    )
    with EchoModel() as echo:
        config_for(echo, tmp_path / "echo.toml")
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(tmp_path)
            words = [*COMMAND, "run", "ask.lua", "--grant", "llm", "--ask", "--config", "echo.toml"]
            os.execve(sys.executable, words, environment())
        shown = b""
        answers = typed.splitlines(keepends=True)
        while True:
            try:
                data = os.read(terminal, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
            if answers and shown.endswith(b": "):
                os.write(terminal, answers.pop(0).encode())
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    text = shown.decode()
    assert os.waitstatus_to_exitcode(status) == code, text
    assert "ask wants llm (llm): provider echo" in text and said in text


ALIKE = {
    "a shell's text": (
        "return {orcs.exec('echo harmless').ok, orcs.exec('echo harm').error_kind}",
        [Grant("exec", shell=True, approve="ask")],
    ),
    "a program's arguments": (
        "return {orcs.exec_argv('echo', {'harmless'}).ok, orcs.exec_argv('echo', {'harm'}).error_kind}",
        [Grant("exec", approve="ask")],
    ),
    "how far a child's rights reach": (
        "local c = orcs.spawn_child { id = 'c', script = 'return 1', caps = { llm = { max_calls = 1 } } } c:close()\n"
        "return {c.ok, orcs.spawn_child { id = 'c', script = 'return 1', caps = { llm = {} } }.error_kind}",
        [Grant("spawn", approve="ask"), Grant.llm()],
    ),
    "what a child runs": (
        "local c = orcs.spawn_child { id = 'c', script = 'return 1' } c:close()\n"
        "return {c.ok, orcs.spawn_child { id = 'c', script = 'return 2' }.error_kind}",
        [Grant("spawn", approve="ask")],
    ),
    "what a child holds": (
        "local c = orcs.spawn_child { id = 'c', script = 'return 1' } c:close()\n"
        "return {c.ok, orcs.spawn_child { id = 'c', script = 'return 1', caps = { llm = true } }.error_kind}",
        [Grant("spawn", approve="ask"), Grant.llm()],
    ),
}


@in_trio
@pytest.mark.parametrize("what", ALIKE)
async def test_an_answer_for_a_time_does_not_hold_for_another_text_or_for_more_rights(what: str) -> None:
    body, grants = ALIKE[what]
    async with Host(approver=Asked(AllowFor(ttl_s=60), Deny())) as host:
        vm = await host.load(Source(f"return function() {body} end"), grants=grants)
        assert await vm.run() == [True, "approval_denied"]


@in_trio
async def test_an_answer_for_a_time_ends_with_the_grant_it_was_given_under() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo), approver=Asked(AllowFor(ttl_s=60), Deny())) as host:
            vm = await host.load(Source(CALL), grants=[Grant.llm(approve="ask")])
            assert [(await vm.run(["llm", "x"]))["ok"] for _ in range(2)] == [True, True]
            vm.revoke("llm")
            vm.grant(Grant.llm(approve="ask"))
            assert (await vm.run(["llm", "x"]))["error_kind"] == "approval_denied"


@in_trio
async def test_waiting_is_part_of_the_calls_own_time() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo), approver=Asked(AllowOnce(), wait_s=20)) as host:
            vm = await host.load(Source(CALL), grants=[Grant.llm(approve="ask")])
            answer = await vm.run(["llm", "x", {"overall_timeout": 0.1}])
        assert answer["error_kind"] == "deadline_exceeded" and echo.calls == 0


@in_trio
@pytest.mark.parametrize("how", ["approval", "reading"])
async def test_children_that_wait_for_their_turn_do_not_share_one_place(how: str, tmp_path: Path) -> None:
    (tmp_path / "c.lua").write_text("return 1")
    (tmp_path / "m.lua").write_text(
        "return function() local fs = {} for i = 1, 4 do fs[i] = function()\n"
        "  return orcs.spawn_child { id = 'c' .. i, path = 'c.lua' }.error_kind or 'ok' end end\n"
        "local r = orcs.all(fs) r[#r + 1] = #orcs.children() return r end"
    )
    grant = Grant("spawn", max_children=1, **({"approve": "ask"} if how == "approval" else {}))
    async with Host(approver=Asked(AllowOnce(), wait_s=0.1)) as host:
        *made, living = await (await host.load(tmp_path / "m.lua", grants=[grant])).run()
    assert sorted(made) == ["max_children_reached"] * 3 + ["ok"] and living == 1
