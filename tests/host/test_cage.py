"""The cage from inside: native code in a worker's place gains nothing from the system, and nothing from the host."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import Any

import hostile_worker
import pytest
import trio
from trio_tests import Passes, in_trio, resident_bytes

from luahost import Exhausted, Host, HostFault, Limits, LuahostError, Source
from luahost.workers import worker, zygote
from luahost.workers.zygote import Zygote

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="the calls are spelt by x86-64 numbers"
)

SECRET = "sk-of-the-host-0001"
_kept = ctypes.create_string_buffer(SECRET.encode())
ROOT = os.geteuid() == 0

PROGRAM = """\
import sys
sys.path[:] = sys.argv[2:]
import hostile_worker
hostile_worker.take_over(int(sys.argv[1]), {without!r})
"""

# Without any cage each of these does something, as an ordinary user too: the acts are real.
HARMFUL = {
    *("opens a file", "writes a file", "lists a directory", "asks about a file", "renames a file", "links a file"),
    *("truncates a file", "makes a pipe", "makes a file in memory", "duplicates its socket", "makes a socket"),
    *("makes a pair of sockets", "connects", "binds", "connects to an abstract socket", "makes a netlink socket"),
    *("sends a descriptor", "receives a descriptor", "forks", "clones", "clones by clone3", "starts a thread"),
    *("signals the host", "signals the zygote", "signals another VM's worker", "signals everybody"),
    *("signals the host through a pidfd", "makes executable memory", "makes memory executable"),
    *("changes its personality", "changes the host's priority", "reads another process's clock"),
    *("grows past its address space", "outlives its parent", "makes a message queue", "shares memory"),
    *("reads its own environment's file", "merges its pages with others'", "changes its directory"),
}
# Only root may do these, or a kernel that lets children trace their parents.
HARMFUL_AS_ROOT = {"reads the host's memory", "reads the host's memory through its file", "traces the host"}
HARMFUL_AS_ROOT |= {"raises its limit of files", "removes a file", "locks memory"}

# The layers under the filter: what they keep away by themselves.
WITHOUT_FILTER = {
    *("opens a file", "writes a file", "lists a directory", "removes a file", "renames a file", "links a file"),
    *("truncates a file", "connects", "binds", "connects to an abstract socket", "forks", "starts a thread"),
    *("executes a program", "executes a program from memory", "signals the host", "signals the zygote"),
    *("signals another VM's worker", "traces the host", "traces the zygote", "traces another VM's worker"),
    *("reads the host's memory", "reads the host's memory through its file", "makes executable memory"),
    *("makes memory executable", "makes a pipe", "makes a socket", "becomes root", "mounts", "has capabilities"),
    *("takes a descriptor of the host", "changes the host's limits", "grows past its address space"),
    *("raises its limit of files", "raises its address space", "locks memory", "changes its root"),
    "reads its own environment's file",
}


class Hostile:
    """A host whose workers are the hostile program's, and an honest host's worker beside it."""

    def __init__(self, without: str, folder: Path) -> None:
        self.without, self.folder = without, folder
        self._server = socket.create_server(("127.0.0.1", 0))
        self._abstract = socket.socket(socket.AF_UNIX)
        self._name = f"luahost-test-{os.getpid()}-{without}"
        self._abstract.bind("\0" + self._name)
        self._abstract.listen()

    def zygote(self) -> Zygote:
        program, zygote._PROGRAM = zygote._PROGRAM, PROGRAM.format(without=self.without)
        try:
            return Zygote()
        finally:
            zygote._PROGRAM = program

    async def act(self, host: Host, act: str, limits: Limits | None = None) -> Any:
        """What came of the act; an error of the host's when the worker died of it."""
        (self.folder / "victim").write_text("x")
        (self.folder / "file").unlink(missing_ok=True)
        sibling = await host.load(Source("return 1"), limits=limits)
        vm = await host.load(Source("return 1"), limits=limits)
        told = {
            "act": act,
            "host": os.getpid(),
            "zygote": host._pool.zygote_pid,
            "sibling": sibling._port.worker.pid,
            "secret": SECRET,
            "address": ctypes.addressof(_kept),
            "file": str(self.folder / "file"),
            "victim": str(self.folder / "victim"),
            "port": self._server.getsockname()[1],
            "abstract": self._name,
        }
        try:
            return await vm.run(told)
        except LuahostError as error:
            return error
        finally:
            await vm.close()
            await sibling.close()

    def all(self, acts: set[str]) -> dict[str, Any]:
        """What came of each."""
        came: dict[str, Any] = {}

        async def main() -> None:
            async with Host().prepare(self.zygote()) as host:
                for act in sorted(acts):
                    with trio.fail_after(20):
                        came[act] = await self.act(host, act)

        trio.run(main)
        return came

    def close(self) -> None:
        self._server.close()
        self._abstract.close()


def outcomes(without: str, acts: set[str], folder: Path) -> dict[str, Any]:
    folder.chmod(0o777)  # so that nobody, too, could do harm here
    hostile = Hostile(without, folder)
    try:
        return hostile.all(acts)
    finally:
        hostile.close()


def gained(outcome: Any) -> bool:
    return isinstance(outcome, dict) and outcome["gained"]


ATTACKS = set(hostile_worker.ACTS) - {"does ordinary work", "sees"}


@pytest.fixture(scope="module")
def caged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcomes("", set(hostile_worker.ACTS), tmp_path_factory.mktemp("caged"))


@pytest.fixture(scope="module")
def open_(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcomes("all", HARMFUL | HARMFUL_AS_ROOT, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def unfiltered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcomes("filter", WITHOUT_FILTER, tmp_path_factory.mktemp("unfiltered"))


def needs(layer: str) -> None:
    """Skips where the kernel has not got it; what it lacks is said by `luahost doctor`."""
    if layer not in _kernel():
        pytest.skip(f"this kernel has no {layer}")


def _kernel() -> set[str]:
    if not _found:

        async def ask() -> None:
            async with Host() as host:
                await host.load(Source("return 1"))
                z = host._pool._zygote
                _found.update(
                    {"filter"} if z.filtered else set(),
                    {"Landlock"} if (z.landlock or 0) >= 6 else set(),
                    {"booted"},
                )

        trio.run(ask)
    return _found


_found: set[str] = set()


@pytest.mark.parametrize("act", sorted(ATTACKS))
def test_native_code_in_the_cage_gains_nothing(caged: dict[str, Any], act: str) -> None:
    needs("filter")
    assert not gained(caged[act]), caged[act]


@pytest.mark.parametrize("act", sorted(HARMFUL | HARMFUL_AS_ROOT))
def test_and_the_same_code_outside_of_it_does(open_: dict[str, Any], act: str) -> None:
    if act in HARMFUL_AS_ROOT and not ROOT:
        pytest.skip("only root can")
    assert gained(open_[act]), open_[act]


@pytest.mark.parametrize("act", sorted(WITHOUT_FILTER))
def test_the_other_layers_hold_where_a_kernel_takes_no_filter(unfiltered: dict[str, Any], act: str) -> None:
    needs("Landlock")
    assert not gained(unfiltered[act]), unfiltered[act]


def test_ordinary_work_goes_on_in_the_cage(caged: dict[str, Any]) -> None:
    assert gained(caged["does ordinary work"]), caged["does ordinary work"]


def test_a_worker_sees_no_environment_and_no_descriptor_but_its_socket(caged: dict[str, Any]) -> None:
    seen = caged["sees"]["got"]
    assert seen["environ"] == []
    assert seen["open"] == [0]


# ── what it can make of the host ────────────────────────────────────────────────────────────────────────


@pytest.mark.alone
@pytest.mark.parametrize(
    ("speech", "said"),
    [
        ("never reads", "memory"),
        ("writes without end", "more output than its VM may write"),
        ("half a frame", "CPU limit"),
        ("small calls in large frames", "CPU limit"),
    ],
)
def test_a_worker_that_floods_or_starves_the_host_is_ended_and_the_host_stays_small(
    speech: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "UNSENT_BYTES", 1 << 20)
    hostile = Hostile("", tmp_path)

    async def main() -> None:
        async with Host().prepare(hostile.zygote()) as host, trio.open_nursery() as nursery:
            await host.load(Source("return 1"))  # boots
            before = resident_bytes()
            peak = 0

            async def watch() -> None:
                nonlocal peak
                while True:
                    peak = max(peak, resident_bytes() - before)
                    await trio.sleep(0.01)

            nursery.start_soon(watch)
            with trio.fail_after(20), Passes() as passes:
                outcome = await hostile.act(host, speech, Limits(cpu_s=0.3, memory_bytes=1 << 20))
            nursery.cancel_scope.cancel()
        assert isinstance(outcome, Exhausted | HostFault), outcome
        assert said in outcome.message
        assert peak < 100 << 20, f"{peak >> 20} MiB"
        assert passes.longest_s < 0.025

    try:
        trio.run(main)
    finally:
        hostile.close()


# ── every worker is there ───────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_every_worker_is_in_the_cage() -> None:
    async with Host() as host:
        for isolation in ("vm", "tree", "shared"):
            vm = await host.load(Source("return 1"), limits=Limits(isolation=isolation))
            status = _status(vm._port.worker.pid)
            assert status["Seccomp"] == "2"
            assert status["NoNewPrivs"] == "1"
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert "0" not in status["Uid"].split()
        assert host._pool._zygote.filtered is True
        status = _status(host._pool.zygote_pid)
        assert status["NoNewPrivs"] == "1" and "0" not in status["Uid"].split() and not status.get("Groups")


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.skipif(not ROOT, reason="only root may look")
@in_trio
async def test_a_workers_memory_holds_nothing_of_the_host_or_of_another_vm() -> None:
    """Read as root would: all of it, byte for byte. What is there: Python, luahost, where they are installed."""
    secrets = {
        name: f"{name}-{os.urandom(8).hex()}" for name in ("environment", "script", "input", "session", "new")
    }
    os.environ["LUAHOST_TEST_SECRET"] = secrets["environment"]
    try:
        async with Host() as host:
            first = await host.load(Source(f"local a = '{secrets['script']}' return function(i) return i end"))
            assert await first.run(secrets["input"]) == secrets["input"]
            first.sessions.load('{"s": [{"role": "user", "content": "' + secrets["session"] + '"}]}')
            own = await host.load(Source(f"return '{secrets['new']}'"))
            memory = _memory(own._port.worker.pid)
            assert secrets["new"].encode() in memory  # the search finds what is there
            for name in ("environment", "script", "input", "session"):
                assert secrets[name].encode() not in memory, name
            zygote = _memory(host._pool.zygote_pid)
            assert not [name for name, secret in secrets.items() if secret.encode() in zygote]
            assert secrets["script"].encode() in _memory(first._port.worker.pid)
    finally:
        del os.environ["LUAHOST_TEST_SECRET"]


def _memory(pid: int) -> bytes:
    """All private memory of a process that can be read."""
    data = bytearray()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if rights[0] != "r" or "[v" in line:
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            memory.seek(begin)
            data += memory.read(end - begin)
    return bytes(data)


@in_trio
async def test_a_worker_dies_with_its_zygote_and_the_zygote_with_its_host() -> None:
    async with Host() as host:
        vm = await host.load(Source("return 1"))
        pid = vm._port.worker.pid
        os.kill(host._pool.zygote_pid, 9)
        with trio.fail_after(5):
            while _runs(pid):  # noqa: ASYNC110 - no event tells of it
                await trio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return _status(pid)["State"][0] not in "ZX"
    except FileNotFoundError:
        return False


@in_trio
async def test_a_worker_out_of_memory_ends_as_its_own_loss_inside_the_cage() -> None:
    async with Host() as host:
        vm = await host.load(
            Source("return function() local t = {} for i = 1, 4e5 do t[i] = {i} end return #t end")
        )
        assert await vm.run() == 400_000
