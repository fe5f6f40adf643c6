"""`make test-upstream PATH_TO_CRATES=…`: the upstream's own Lua components, as they are, and whether they do their job here.

The upstream is brought by whoever runs this (github.com/ynishi/orcs-cli, its folder `crates`); nothing of it is kept.
Each component is loaded under `spawn:default=inherit`, its way of handing on rights, and the grants that its job
takes, and is then asked to do that job; the model is an EchoModel that says what a script of ours tells it to. The
table has a line for each, and one for the builtins that are outside of what is followed (UPSTREAM 1.3).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import trio

import luahost
from luahost import Config, Grant, Host, Provider
from luahost.errors import LuahostError
from luahost.program.vm import Vm
from luahost.testing import EchoModel

Said = list[tuple[str, str]]


class Place(NamedTuple):
    """What a job is done with: a directory of its own, the model, and what was said so far."""

    directory: Path
    model: EchoModel
    said: Said

    def heard(self, text: str) -> bool:
        return any(text in each for _, each in self.said)


class Component(NamedTuple):
    file: str
    grants: tuple[str, ...]
    job: Callable[[Vm, Place], Awaitable[None]]


def wants(condition: Any, what: str) -> None:
    """One thing the job must do; the table shows the first that it does not."""
    if not condition:
        raise AssertionError(what)


# ── the jobs ────────────────────────────────────────────────────────────────────────────────────────────


async def echo(vm: Vm, place: Place) -> None:
    wants(await vm.request("echo", {"a": [1, 2]}, category="Echo") == {"a": [1, 2]}, "echoes its payload")
    try:
        await vm.request("nonsense", category="Echo")
    except luahost.ScriptError as error:
        wants("unknown operation" in error.message, "says what it does not know")
    wants(await vm.signal("Veto") == "Handled", "answers Veto")


async def echo_emitter(vm: Vm, place: Place) -> None:
    wants(await vm.request("echo", {"message": "hi"}, category="Echo") == {"echoed": "hi"}, "answers")
    wants(place.heard("Echo: hi"), "puts it out")
    await vm.signal("Veto")
    wants(place.heard("Received veto"), "tells of a veto")


async def subagent(vm: Vm, place: Place) -> None:
    answer = await vm.request("input", {"message": "Ada"})
    wants(answer == {"response": "Hello: Ada", "source": "subagent"}, "greets")


async def shell(vm: Vm, place: Place) -> None:
    answer = await vm.request("input", {"message": "printf 'a b'"})
    wants(answer["ok"] and answer["stdout"] == "a b" and answer["code"] == 0, "runs a command")
    wants(place.heard("[shell] OK:\na b"), "puts out what it printed")
    vm.revoke("exec")
    try:
        await vm.request("input", {"message": "echo no"})
    except luahost.ScriptError:
        wants(place.heard("[shell] NG"), "says that it is denied")
    else:
        raise AssertionError("is denied without a grant")


async def tool(vm: Vm, place: Place) -> None:
    for line in (
        "write a.txt one two",
        "read a.txt",
        "grep two a.txt",
        "glob *.txt",
        "mkdir d",
        "mv a.txt d/b.txt",
    ):
        await vm.request("input", {"message": line})
    wants((place.directory / "d" / "b.txt").read_text() == "one two", "writes and moves")
    wants(place.heard("read OK (7 bytes)") and place.heard("grep OK: 1") and place.heard("glob OK: 1"), "looks")
    await vm.request("input", {"message": "remove d"})
    wants(not (place.directory / "d").exists(), "removes")
    await vm.request("input", {"message": "pwd"})
    wants(place.heard(f"pwd: {place.directory}"), "knows where it is")


async def life_game(vm: Vm, place: Place) -> None:
    answer = await vm.request("run", {"grid_size": 12, "generations": 4})
    wants(len(answer["history"]) == 5 and answer["history"][0] == "RG.RG.RG.RG.", "runs its generations")
    wants(len(vm.children) == 12, "has a child for each cell")
    wants((await vm.request("status"))["grid"] == answer["history"][-1], "tells where it stands")


async def manager_worker(vm: Vm, place: Place) -> None:
    answer = await vm.request("dispatch", {"task": "t"}, category="Echo")
    wants(answer == {"processed": "t", "by": "manager-direct"}, "does a task")


async def worker_child(vm: Vm, place: Place) -> None:
    answer = await vm.run({"task": "t", "iterations": 3})
    wants([each["result"] for each in answer["results"]] == [f"t-result-{n}" for n in (1, 2, 3)], "works")
    wants(place.heard("Worker completed 3"), "tells of it")


async def spawner_child(vm: Vm, place: Place) -> None:
    answer = await vm.run({"num_workers": 3})
    wants(answer["spawned"] == ["sub-worker-1", "sub-worker-2", "sub-worker-3"], "spawns workers")
    wants(answer["count"] == 3 and len(vm.children) == 3, "counts them")


SKILL = "---\nname: greet\ndescription: Says hello to people\ntags: [hello]\n---\nSay hello.\n"


async def skill_manager(vm: Vm, place: Place) -> None:
    wants(place.heard("SkillManager initialized"), "starts")
    skill = place.directory / "skills" / "greet"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text(SKILL)
    found = await vm.request("discover", {"path": str(place.directory / "skills")})
    wants(found["registered"] == 1, f"discovers a skill: {found}")
    wants([each["name"] for each in await vm.request("list")] == ["greet"], "lists it")
    await vm.request("activate", {"name": "greet"})
    told = await vm.request("execute", {"name": "greet"})
    wants("Say hello." in str(told), f"gives its instructions: {told}")


async def concierge(vm: Vm, place: Place) -> None:
    answer = await vm.request("process", {"message": "What is up?", "llm_config": {"provider": "echo"}})
    wants("What is up?" in place.model.requests[-1].body["messages"][-1]["content"], "asks the model")
    wants(answer["response"] == "It is done." and answer["source"] == "concierge", "gives its answer")
    names = [each["function"]["name"] for each in place.model.requests[-1].body.get("tools", [])]
    wants("delegate_task" in names, "offers delegate_task")
    wants((await vm.request("status"))["turn_count"] == 1, "counts turns")


async def delegate_worker(vm: Vm, place: Place) -> None:
    task = {"request_id": "r1", "description": "Look around.", "llm_config": {"provider": "echo"}}
    await vm.request("process", task, category="DelegateTask")
    wants("Look around." in place.model.requests[-1].body["messages"][-1]["content"], "asks the model")
    wants(place.heard("[Delegate:r1] It is done."), "tells the result")
    wants(vm.board()[-1]["payload"]["summary"] == "It is done.", "emits it as an event")
    wants((await vm.request("status"))["task_count"] == 1, "counts tasks")


async def nothing(vm: Vm, place: Place) -> None:
    """Of a component that is outside of what is followed: it loads."""


HERE = "roots={directory}"
FILES = (f"fs.read:{HERE}", f"fs.write:{HERE}", f"fs.delete:{HERE}")
COMPONENTS = (
    Component("echo.lua", (), echo),
    Component("echo_emitter.lua", (), echo_emitter),
    Component("subagent.lua", (), subagent),
    Component("shell.lua", ("exec:shell=true",), shell),
    Component("tool.lua", FILES, tool),
    Component("life_game.lua", (), life_game),
    Component("manager_worker.lua", (), manager_worker),
    Component("worker_child.lua", (), worker_child),
    Component("spawner_child.lua", (), spawner_child),
    Component("skill_manager/init.lua", FILES, skill_manager),
    Component("concierge.lua", ("llm",), concierge),
    Component("delegate_worker.lua", ("llm",), delegate_worker),
)


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────


async def tried(builtins: Path, component: Component, directory: Path) -> tuple[bool, str]:
    """Whether the component does its job, and what it does not."""
    said: Said = []
    with EchoModel(reply=lambda messages: "It is done.") as model:
        config = Config(
            providers={"echo": Provider(name="echo", base_url=model.url, model="echo")}, provider="echo"
        )
        async with Host(config, output=lambda vm, kind, text: said.append((kind, text))) as host:
            texts = [each.format(directory=directory) for each in ("spawn:default=inherit", *component.grants)]
            try:
                vm = await host.load(builtins / component.file, grants=[Grant.parse(each) for each in texts])
            except LuahostError as error:
                return False, f"does not load: {error.message}"
            try:
                await component.job(vm, Place(directory, model, said))
            except (LuahostError, AssertionError, LookupError, TypeError) as error:
                return False, f"{type(error).__name__}: {error}"
            return True, ""


async def table(builtins: Path) -> int:
    failed = 0
    for component in COMPONENTS:
        with tempfile.TemporaryDirectory() as directory:
            did, why = await tried(builtins, component, Path(directory).resolve())
        failed += not did
        print(f"{'ok' if did else 'NO':3} {component.file:24} {why}")
    tried_ones = {each.file for each in COMPONENTS}
    for path in sorted(builtins.rglob("*.lua")):
        name = str(path.relative_to(builtins))
        if name not in tried_ones and (path.name == "init.lua" or path.parent == builtins):
            with tempfile.TemporaryDirectory() as directory:
                loads, why = await tried(builtins, Component(name, FILES, nothing), Path(directory).resolve())
            print(f"-   {name:24} {'loads; its job is not tried' if loads else why}")
    print(f"{len(COMPONENTS) - failed} of {len(COMPONENTS)} do their job")
    return failed


def main() -> int:
    if len(sys.argv) != 2 or not (builtins := Path(sys.argv[1]) / "orcs-app" / "builtins").is_dir():
        print("upstream: PATH_TO_CRATES=DIR expected, the folder `crates` of github.com/ynishi/orcs-cli")
        return 2
    return 1 if trio.run(table, builtins) else 0


if __name__ == "__main__":
    sys.exit(main())
