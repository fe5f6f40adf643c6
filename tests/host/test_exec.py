"""Programs under the grant `exec`: what may run, what it sees, and that it is gone when its time is up."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_tests import in_trio

from luahost import Grant, Host, Source, Stopped

CALL = "return function(a) return orcs[a[1]](a[2], a[3], a[4]) end"


async def run(host: Host, grant: Grant | None, *call: Any) -> Any:
    vm = await host.load(Source(CALL), grants=[] if grant is None else [grant])
    try:
        return await vm.run(list(call))
    finally:
        await vm.close()


def processes_with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@in_trio
async def test_both_outputs_and_the_code_come_back() -> None:
    async with Host() as host:
        script = "echo out; echo err >&2; exit 3"
        failed = await run(host, Grant("exec"), "exec_argv", "sh", ["-c", script])
        assert (failed["ok"], failed["stdout"], failed["stderr"], failed["code"]) == (False, "out\n", "err\n", 3)
        assert failed["error_kind"] == "exit"
        done = await run(host, Grant("exec"), "exec_argv", "printf", ["%s|%s", "a b", "$HOME"])
        assert (done["ok"], done["stdout"], done["code"]) == (True, "a b|$HOME", 0), "no shell reads the arguments"
        killed = await run(host, Grant("exec"), "exec_argv", "sh", ["-c", "kill -9 $$"])
        assert killed["signal_terminated"] is True and killed["code"] == -9
        assert (await run(host, Grant("exec"), "exec_argv", "no-such-program"))["error_kind"] == "not_found"
        assert (await run(host, Grant("exec"), "exec_argv", "printf", ["\\377"]))["stdout"] == b"\xff"


@in_trio
async def test_without_a_grant_nothing_runs_and_the_answer_has_the_upstreams_shape() -> None:
    async with Host() as host:
        for call in (("exec", "id"), ("exec_argv", "id")):
            refused = await run(host, None, *call)
            assert refused["error_kind"] == "permission_denied"
            assert (refused["stdout"], refused["code"]) == ("", -1) and refused["stderr"] == refused["error"]
        assert (await run(host, None, "check_command", "id"))["status"] == "denied"


@in_trio
async def test_the_environment_is_empty_but_for_what_the_grant_lets_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUAHOST_TEST_SECRET", "sk-1")
    monkeypatch.setenv("LUAHOST_TEST_PLAIN", "p")
    async with Host() as host:
        assert (await run(host, Grant("exec"), "exec_argv", "/usr/bin/env"))["stdout"] == ""
        grant = Grant("exec", env=["LUAHOST_TEST_PLAIN", "HOME"])
        told = await run(host, grant, "exec_argv", "/usr/bin/env", [], {"env_remove": ["HOME"]})
        assert told["stdout"] == "LUAHOST_TEST_PLAIN=p\n"
        with pytest.raises(ValueError, match="widened"):
            grant.attenuate(env=["LUAHOST_TEST_SECRET"])


@pytest.mark.parametrize(
    ("argv", "allowed"),
    [
        (["git", "status"], True),
        (["git", "status", "-s"], True),
        (["git", "push"], False),
        (["git"], False),
        (["git status"], False),
        (["gitx", "status"], False),
        (["/usr/bin/git", "status"], False),
        (["ls"], True),
    ],
)
def test_a_command_is_allowed_by_its_first_words(argv: list[str], allowed: bool) -> None:
    from luahost.gate.permits import ExecAction
    from luahost.gate.policy import judge

    grant = Grant("exec", commands=["git status", "ls"])
    action = ExecAction(argv=tuple(argv), text=None, path="/w", start="/w")
    assert (judge(grant, action, 0.0) is None) is allowed


@in_trio
async def test_a_shell_needs_its_own_word_and_listed_commands_leave_it_no_signs() -> None:
    async with Host() as host:
        assert (await run(host, Grant("exec"), "exec", "echo x"))["detail"]["rule"] == "shell"
        assert (await run(host, Grant("exec", shell=True), "exec", "echo $((40 + 2))"))["stdout"] == "42\n"
        listed = Grant("exec", shell=True, commands=["echo"])
        assert (await run(host, listed, "exec", "echo a b"))["stdout"] == "a b\n"
        for text in (
            "echo a; id",
            "echo $(id)",
            "echo `id`",
            "echo a\nid",
            "echo > x",
            "echo * ",
            "id",
            "X=1 echo",
        ):
            assert (await run(host, listed, "exec", text))["detail"]["rule"] == "commands", text
        assert (await run(host, listed, "check_command", "echo a; id"))["status"] == "denied"
        assert (await run(host, listed, "check_command", "echo a"))["status"] == "allowed"
        narrowed = Grant("exec", shell=True).attenuate(shell=False)
        assert (await run(host, narrowed, "exec", "id"))["detail"]["rule"] == "shell"


@in_trio
async def test_it_starts_only_in_granted_directories(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").symlink_to("/etc")
    async with Host() as host:
        grant = Grant("exec", roots=[str(tmp_path)])
        told = await run(host, grant, "exec_argv", "pwd", [], {"cwd": str(tmp_path / "in")})
        assert told["stdout"].strip() == str((tmp_path / "in").resolve())
        for cwd in ("/etc", "..", str(tmp_path / "out")):
            assert (await run(host, grant, "exec_argv", "pwd", [], {"cwd": cwd}))[
                "error_kind"
            ] == "path_not_allowed"


@in_trio
async def test_output_over_the_cap_is_dropped_and_said() -> None:
    async with Host() as host:
        grant = Grant("exec", max_output_bytes=1000)
        told = await run(host, grant, "exec_argv", "head", ["-c", "5000000", "/dev/zero"])
        assert told["ok"] and told["truncated"] is True and len(told["stdout"]) == 1000


@pytest.mark.alone
@in_trio
async def test_the_whole_process_group_is_killed_when_the_time_is_up_or_the_run_is_cancelled() -> None:
    mark = f"luahost-mark-{os.getpid()}"
    argv = ["-c", f"sh -c 'sleep 30; : {mark}' & sleep 30; : {mark}"]
    async with Host() as host:
        began = time.monotonic()
        told = await run(host, Grant("exec", timeout_s=0.3), "exec_argv", "sh", argv)
        assert told["error_kind"] == "timeout" and told["code"] == -1 and time.monotonic() - began < 3
        assert not processes_with(mark)
        vm = await host.load(Source(CALL), grants=[Grant("exec")])
        with trio.move_on_after(0.3):
            await vm.run(["exec_argv", "sh", argv])
        await trio.sleep(0.1)
        assert not processes_with(mark)
        async with trio.open_nursery() as nursery:

            async def revoke() -> None:
                await trio.sleep(0.3)
                assert processes_with(mark)
                vm.revoke("exec")

            nursery.start_soon(revoke)
            try:
                ended = await vm.run(["exec_argv", "sh", argv])
            except Stopped:  # the cancelled activation took its worker with it
                return
        assert ended["error_kind"] == "capability_revoked"
        await trio.sleep(0.1)
        assert not processes_with(mark)


def come_to_nothing(mark: str) -> bool:
    """Whether there is soon no such process any more: a signal has been sent, and takes its time."""
    for _ in range(100):
        if not processes_with(mark):
            return True
        time.sleep(0.05)
    return False


@in_trio
async def test_a_session_of_its_own_does_not_save_what_a_killed_program_has_started() -> None:
    mark = f"luahost-session-{os.getpid()}"
    argv = ["--wait", "sh", "-c", f"setsid --wait sh -c 'sleep 60; : {mark}'; : {mark}"]
    async with Host() as host:
        told = await run(host, Grant("exec", timeout_s=0.5), "exec_argv", "setsid", argv)
        assert told["error_kind"] == "timeout"
        assert await trio.to_thread.run_sync(come_to_nothing, mark)


@in_trio
async def test_a_child_that_holds_the_output_open_does_not_hold_the_answer() -> None:
    async with Host() as host:
        began = time.monotonic()
        told = await run(host, Grant("exec"), "exec_argv", "sh", ["-c", "sleep 20 & echo started"])
        assert told["stdout"] == "started\n" and time.monotonic() - began < 3


@in_trio
async def test_a_running_program_counts_as_under_way_until_its_end_and_ends_with_its_grant() -> None:
    script = Source(
        """
        local function sleep(s) return function() return orcs.exec_argv("sleep", { s }) end end
        return function(s) return orcs.all { sleep(s), sleep(s), sleep(s) } end
        """
    )
    async with Host() as host:
        grant = Grant("exec", max_concurrency=2, max_calls=4)
        vm = await host.load(script, grants=[grant])
        kinds = sorted(each.get("error_kind", "ok") for each in await vm.run("0.2"))
        assert kinds == ["concurrency_limit", "ok", "ok"]
        async with trio.open_nursery() as nursery:

            async def revoke() -> None:
                while len(processes_with("86399")) < 2:  # noqa: ASYNC110 - no event tells of it
                    await trio.sleep(0.01)
                assert grant.usage()["running"] == 2
                grant.revoke("enough")

            nursery.start_soon(revoke)
            with trio.fail_after(5):
                assert {each["error_kind"] for each in await vm.run("86399")} == {
                    "concurrency_limit",
                    "capability_revoked",
                }
        assert not processes_with("86399")
        assert (grant.usage()["calls"], grant.usage()["running"]) == (4, 0)


@in_trio
async def test_a_grant_that_does_not_say_lets_32_programs_run_at_a_time() -> None:
    script = "return function(n) local t = {} for i = 1, n do t[i] = function() return orcs.exec_argv('sleep', { '0.5' }) end end return orcs.all(t) end"
    async with Host() as host:
        vm = await host.load(Source(script), grants=[Grant("exec")])
        assert [each["ok"] for each in await vm.run(40)].count(False) == 8
        vm = await host.load(Source(script), grants=[Grant("exec", max_concurrency=40)])
        assert all(each["ok"] for each in await vm.run(40)), "the control"
