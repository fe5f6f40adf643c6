"""Programs: orcs.exec_argv(program, args, opts), and orcs.exec(text) where the grant lets a shell run.

A program is started without the host's environment, keys and descriptors, in a session of its own; both its outputs
are read to the end and kept up to a cap; when its time is up or nobody waits any more, its process group is killed.
What a granted program then does, it does as the host's user: no cage is around it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

import msgspec
import trio

from luahost.gate import paths
from luahost.gate.constraints import ABSENT
from luahost.gate.grants import Grant
from luahost.gate.permits import ExecAction, Permit
from luahost.gate.policy import judge
from luahost.ops import results
from luahost.ops.files.beneath import Beneath, Leaves
from luahost.ops.files.reach import No, from_os, joined, walked
from luahost.ops.results import Result, as_text
from luahost.ops.world import Emit, Planned, Share

TIMEOUT_S: float = ABSENT["exec"]["timeout_s"]
OUTPUT_BYTES: int = ABSENT["exec"]["max_output_bytes"]
LEFT_OVER_S = 0.1
"""How long outputs that a program's own children hold open are still read after its end."""
MAX_BELOW = 500
"""Processes that are looked for below one: it is done in the event loop, as they might be gone a moment later."""
MAX_ARGUMENTS = 1000
MAX_ARGUMENT_BYTES = 128 * 1024


class ExecOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.exec_argv. `timeout` in seconds; `env_remove`: variables the grant lets through and that are not
    wanted."""

    cwd: str | None = None
    timeout: float | None = None
    env_remove: list[str] = []


class ExecArgs(msgspec.Struct, frozen=True):
    program: str
    args: list[str] = []
    opts: ExecOptions = ExecOptions()


class ShellArgs(msgspec.Struct, frozen=True):
    command: str


class ExecPlan(Planned, frozen=True, kw_only=True):
    action: ExecAction
    timeout_s: float | None = None
    without: frozenset[str] = frozenset()


def plan_argv(share: Share, args: ExecArgs) -> ExecPlan | Result:
    argv = (args.program, *args.args)
    problem = _problem(argv)
    if problem is not None:
        return problem
    opts, start = args.opts, share.world.directory
    if opts.timeout is not None and not 0 < opts.timeout < 86_400:
        return results.invalid("timeout", "seconds above 0 expected")
    path = os.path.normpath(os.path.join(start, opts.cwd)) if opts.cwd is not None else start
    if "\0" in path:
        return results.invalid("cwd", "a path without NUL expected")
    action = ExecAction(argv=argv, text=None, path=path, start=start)
    return ExecPlan(action=action, timeout_s=opts.timeout, without=frozenset(opts.env_remove))


def plan_shell(share: Share, args: ShellArgs) -> ExecPlan | Result:
    argv = ("/bin/sh", "-c", args.command)
    start = share.world.directory
    return _problem(argv) or ExecPlan(action=ExecAction(argv=argv, text=args.command, path=start, start=start))


def _problem(argv: tuple[str, ...]) -> Result | None:
    if not argv[0]:
        return results.invalid("program", "a name or path expected, got an empty text")
    if len(argv) > MAX_ARGUMENTS or any("\0" in each or len(each) > MAX_ARGUMENT_BYTES for each in argv):
        most = f"at most {MAX_ARGUMENTS} texts of at most {MAX_ARGUMENT_BYTES} bytes without NUL expected"
        return results.invalid("args", most)
    return None


def wish(share: Share, detail: dict[str, Any]) -> ExecAction | Result:
    """What orcs.can("exec", {argv = {…}} or {command = text}) asks about."""
    argv, command = detail.get("argv"), detail.get("command")
    if isinstance(command, str):
        made = plan_shell(share, ShellArgs(command))
    elif isinstance(argv, list) and argv and all(isinstance(each, str) for each in argv):
        made = plan_argv(share, ExecArgs(argv[0], argv[1:]))
    else:
        return results.invalid("argv", "argv = a list of texts, or command = a text, expected")
    return made if isinstance(made, dict) else made.action


def check_command(share: Share, args: ShellArgs) -> dict[str, Any]:
    """{status = allowed | denied, reason, grant_pattern, description}: what would be said; runs nothing."""
    made, grant = plan_shell(share, args), share.grants.get("exec")
    about = {"description": args.command[:200]}
    if grant is None:
        return {
            "status": "denied",
            "reason": "this script was not granted 'exec'",
            "grant_pattern": "exec",
            **about,
        }
    if isinstance(made, dict):
        return {"status": "denied", "reason": made["error"], **about}
    refusal = judge(grant, made.action, share.world.monotonic_s())
    if refusal is None:
        return {"status": "allowed", **about}
    return {"status": "denied", "reason": refusal.message, "grant_pattern": refusal.grant, **about}


# ── the act ─────────────────────────────────────────────────────────────────────────────────────────────


class _Settings:
    """What the grants of the chain say together: the narrowest of each."""

    def __init__(self, grant: Grant, plan: ExecPlan) -> None:
        times = grant.said("timeout_s") or [TIMEOUT_S]
        self.timeout_s = min(*times, plan.timeout_s if plan.timeout_s is not None else times[0])
        self.output_bytes = min(grant.said("max_output_bytes"), default=OUTPUT_BYTES)
        named = [set(names) for names in grant.said("env")]
        names = (set.intersection(*named) if named else set()) - plan.without
        self.env = {name: os.environ[name] for name in names if name in os.environ}


async def run(permit: Permit[ExecAction], planned: ExecPlan, args: Any, share: Share, emit: Emit | None) -> Result:
    """{ok, stdout, stderr, code, signal_terminated?, truncated?}; ok means code 0."""
    settings = _Settings(permit.grant, planned)
    action = permit.action
    name = action.argv[0]
    place = os.path.join(action.path, name) if "/" in name else name
    program = shutil.which(place, path=os.environ.get("PATH", os.defpath))
    if program is None:
        return results.error("not_found", f"there is no program {name[:200]!r}")
    outputs = _Output(settings.output_bytes), _Output(settings.output_bytes)
    try:
        process = await _start(program, permit, settings, share.world.monotonic_s())
    except No as no:
        return no.result
    except Leaves as leaves:
        return results.error("path_not_allowed", str(leaves), rule="links")
    except OSError as error:
        return from_os(error)
    permit.reached()
    try:
        with trio.move_on_after(settings.timeout_s) as limit:
            async with trio.open_nursery() as nursery:
                for stream, output in zip((process.stdout, process.stderr), outputs, strict=True):
                    nursery.start_soon(output.read, stream)
                await process.wait()
                nursery.cancel_scope.deadline = trio.current_time() + LEFT_OVER_S
    finally:
        left = _below(process.pid) if process.returncode is None else ()  # some may have a session of their own
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
    said: Result = {"stdout": as_text(bytes(outputs[0].kept)), "stderr": as_text(bytes(outputs[1].kept))}
    if any(output.more for output in outputs):
        said["truncated"] = True
    if limit.cancelled_caught:
        message = f"the program did not end within {settings.timeout_s:g} s and was killed"
        return {**results.error("timeout", message, phase="overall"), **said, "code": -1}
    code = process.returncode or 0
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return {
            **results.error("exit", f"the program was ended by {name}"),
            **said,
            "code": code,
            "signal_terminated": True,
        }
    if code:
        return {**results.error("exit", f"the program ended with code {code}"), **said, "code": code}
    return {"ok": True, **said, "code": 0}


def _below(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have, but not endlessly many; none where there
    is no /proc."""
    found = [pid]
    for each in found:  # which grows meanwhile
        if len(found) > MAX_BELOW:
            break
        with suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    found += map(int, file.read().split())
    return found[1 : MAX_BELOW + 1]


async def _start(program: str, permit: Permit[ExecAction], settings: _Settings, now_s: float) -> trio.Process:
    action = permit.action
    root, names = paths.innermost(action.path, walked(permit.grant, action.start))
    with Beneath(root) as held:
        spot = held.find(names)
        found = msgspec.structs.replace(action, path=joined(root, spot.names))
        refusal = judge(permit.grant, found, now_s) if spot.names != names else None
        if refusal is not None:
            raise No(results.refused("exec", refusal, path="/".join(spot.names)))
        directory = os.open(
            spot.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spot.handle
        )
    try:
        return await trio.lowlevel.open_process(
            list(action.argv),
            executable=program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=settings.env,
            # The directory that was checked, whatever its path means by now.
            cwd=f"/proc/self/fd/{directory}" if sys.platform == "linux" else action.path,
            start_new_session=True,
        )
    finally:
        os.close(directory)


class _Output:
    """One output: read to its end, kept up to a cap."""

    def __init__(self, max_bytes: int) -> None:
        self.kept, self.more, self._max = bytearray(), False, max_bytes

    async def read(self, stream: trio.abc.ReceiveStream | None) -> None:
        assert stream is not None
        async for data in stream:
            room = self._max - len(self.kept)
            self.kept += data[:room]
            self.more = self.more or len(data) > room
