"""The registry is what a VM has, what the host takes, what the type file says and what the README shows: no more, no less."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import lupa.lua54 as lupa
import pytest
from command import TOP, environment, luahost

from luahost.bridge.syscalls import SYSCALLS
from luahost.cli import stubs
from luahost.cli.api import api, needed, split
from luahost.gate.constraints import KINDS
from luahost.vm import sandbox
from luahost.vm.sources import BOOT, PARTS, root

README = (TOP / "README.md").read_text()

NAMES = b"""
local codes, boot, parts = ...
local K, load, next, type, none = { real_globals = _G }, load, next, type, function() return 0 end
K.post, K.fetch = none, function(name) return codes[name] end
for i = 1, #boot do load(codes[boot[i]], "=boot", "b")(K) end
for i = 1, #parts do K.need(parts[i]) end
local functions, fields = {}, {}
local function walk(t, prefix)
  for k, v in next, t do
    local behind = type(v) == "table" and K.raw.debug.getmetatable(v)
    if type(v) == "function" then
      functions[#functions + 1] = prefix .. k
    elseif behind and type(behind.__index) == "table" and v ~= K.values.NULL then
      walk(behind.__index, prefix .. k .. ".")
    else
      fields[#fields + 1] = prefix .. k
    end
  end
end
walk(K.orcs, "")
for k in next, K.fields do fields[#fields + 1] = k end
return functions, fields
"""


@pytest.fixture(scope="module")
def there() -> tuple[set[str], set[str]]:
    """Functions and fields of `orcs` in a VM whose every file is loaded, before it is sealed."""
    lua = lupa.LuaRuntime(encoding=None)
    codes = lua.table_from({name.encode(): code for name, code in sandbox._code().items()})
    boot = lua.table_from([name.encode() for name in BOOT if name != "boot/seal.lua"])
    functions, fields = lua.execute(NAMES, codes, boot, lua.table_from([name.encode() for name in PARTS]))
    return {name.decode() for name in functions.values()}, {name.decode() for name in fields.values()}


def test_the_registry_has_every_function_of_a_vm_and_no_other(there: tuple[set[str], set[str]]) -> None:
    assert set(api().functions) == there[0]
    assert set(api().fields) == there[1]


def test_the_registry_names_the_grant_that_the_host_asks_for() -> None:
    gated = {op: row.capability for op, row in SYSCALLS.items() if row.capability}
    assert {op: needed(op)[0] for op in gated} == gated
    named = {kind for each in api().functions.values() for kind in (each.needs, *each.also) if kind}
    assert named <= set(KINDS)
    asked = {
        "llm_sessions.compact": "llm",
        "mcp_as_tools": "mcp",
        "spawn_runner": "spawn",
    }  # in Lua, through others
    assert {name: each.needs for name, each in api().functions.items() if each.needs} == {**gated, **asked}


def test_hooks_watch_every_call_that_needs_a_grant() -> None:
    text = (Path(root()) / "std" / "hooks.lua").read_text()
    watched = re.search(r"local WATCHED = \{(.*?)\n\}", text, re.DOTALL)
    assert watched and set(re.findall(r"(\w+) = true", watched[1])) == {
        op for op, row in SYSCALLS.items() if row.capability
    }


def test_the_registrys_options_are_those_that_the_host_takes() -> None:
    """An options class has the members that its operation's shape has."""
    ops = {"request": "child.request", "request_batch": "child.request_batch", "child_result": "child.result"}
    ops |= {f"llm_sessions.{name}": f"sessions.{name}" for name in ("dump", "load", "fork", "trim")}
    seen = 0
    for name, function in api().functions.items():
        row = SYSCALLS.get(ops.get(name, name))
        types = [p.type.removesuffix("[]") for p in function.parameters if p.type.startswith("orcs.")]
        if row is None or not types:
            continue
        members = {member.name for member in api().members(types[-1].removeprefix("orcs."))}
        assert members == {option for option in row.options if "." not in option}, name
        seen += 1
    assert seen >= 12


def test_every_kind_of_error_has_a_line_in_the_registry() -> None:
    made, found = api(), set[str]()
    for path in (TOP / "luahost" / "ops").rglob("*.py"):
        found |= set(re.findall(r'results\.error\(\s*"([a-z_]+)"', path.read_text()))
    for path in (Path(root()) / "std").glob("*.lua"):
        found |= set(re.findall(r'error_kind = "([a-z_]+)"', path.read_text()))
    assert len(found) > 15 and found <= set(made.kinds)
    for function in made.functions.values():
        assert set(made.kinds_of(function)) <= set(made.kinds), function.name


def test_every_type_that_is_named_is_there() -> None:
    made = api()
    text = stubs.text(made)
    named = set(re.findall(r"orcs\.([A-Z]\w*)", text))
    assert named == {*made.classes, "ErrorKind"}


def test_the_type_file_in_the_repository_is_the_registrys() -> None:
    assert (Path(root()) / "meta" / stubs.FILE).read_text() == stubs.text(), "make it again: luahost stubs lua/meta"


def test_the_type_file_is_lua() -> None:
    lua = lupa.LuaRuntime()
    assert lua.eval("load")(stubs.text())


def test_stubs_writes_the_file_and_the_table_has_a_row_for_each_name(tmp_path: Path) -> None:
    ran = luahost("stubs", ".", cwd=tmp_path)
    assert ran.code == 0 and (tmp_path / "orcs.d.lua").read_text() == stubs.text()
    table = luahost("stubs", "--table", cwd=tmp_path).out
    for name in (*api().functions, *api().fields):
        assert re.search(rf"^\| `{re.escape(name)}[`(]", table, re.MULTILINE), name
    gone = luahost("stubs", "nowhere", cwd=tmp_path)
    assert gone.code == 5 and "nowhere" in gone.err


def test_the_readmes_table_is_the_registrys() -> None:
    shown = re.search(r"<!-- luahost stubs --table -->\n(.*?)<!-- end of the table -->", README, re.DOTALL)
    if shown is None:
        pytest.skip("the README has no table of the API")
    assert shown[1].strip() == stubs.table().strip(), "make it again: luahost stubs --table"


def test_a_list_of_types_is_split_outside_of_brackets() -> None:
    assert split("a: table<string, any>, f: fun(x: any, i: integer): any") == [
        "a: table<string, any>",
        "f: fun(x: any, i: integer): any",
    ]


# ── a project to begin with ─────────────────────────────────────────────────────────────────────────────


def test_init_makes_a_project_whose_test_passes(tmp_path: Path) -> None:
    ran = luahost("init", "mine", cwd=tmp_path)
    assert ran.code == 0, ran
    made = {path.name for path in (tmp_path / "mine").iterdir()}
    assert made == {"agent.lua", "luahost.toml", ".luarc.json", "orcs.d.lua", "test_agent.py"}
    assert (tmp_path / "mine" / "orcs.d.lua").read_text() == stubs.text()
    json.loads((tmp_path / "mine" / ".luarc.json").read_text())
    assert luahost("providers", "--config", "mine/luahost.toml", "--no-ping", cwd=tmp_path).code == 0
    assert luahost("check", "mine/agent.lua", cwd=tmp_path).out == "agent.lua: syntax ok; names: llm (orcs.llm)\n"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "mine"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "luahost.toml").write_text("mine")
    ran = luahost("init", ".", cwd=tmp_path)
    assert ran.code == 2 and "luahost.toml is there already" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["luahost.toml"]
    (tmp_path / "file").write_text("")
    assert luahost("init", "file", cwd=tmp_path).code == 5
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "agent.lua").symlink_to(tmp_path / "elsewhere")
    assert luahost("init", "link", cwd=tmp_path).code == 2 and not (tmp_path / "elsewhere").exists()
