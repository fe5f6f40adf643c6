"""What is made of the registry: the type file that editors read, and the README's table.

    luahost stubs DIR     writes DIR/orcs.d.lua, in the words of LuaLS (LuaCATS annotations)
    luahost stubs --table prints the table

Both say the same as `lua/meta/api.toml` and nothing more; lua/meta/orcs.d.lua is kept in the repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from luahost.cli.api import Api, Function, Member, api, split
from luahost.errors import WorldError

FILE = "orcs.d.lua"

_HEAD = """\
---@meta orcs

-- What scripts of luahost find in `orcs`. Made by `luahost stubs` from lua/meta/api.toml; do not change it here.

"""


def write(directory: str) -> Path:
    """Writes the type file; its path. WorldError where it cannot be written."""
    path = Path(directory) / FILE
    try:
        path.write_text(text())
    except OSError as error:
        raise WorldError(f"stubs: {path} cannot be written: {error.strerror}", kind="io") from None
    return path


def text(made: Api | None = None) -> str:
    """The type file."""
    made = made or api()
    blocks = [_kinds(made), *(_class(made, name) for name in made.classes), _orcs(made)]
    blocks += [_function(made, each) for each in made.functions.values()]
    return _HEAD + "\n\n".join(blocks) + "\n"


def _kinds(made: Api) -> str:
    lines = [f'---| "{kind}" # {says}' for kind, says in made.kinds.items()]
    return "\n".join(["---@alias orcs.ErrorKind", *lines])


def _class(made: Api, name: str) -> str:
    above = made.classes[name].get("extends")
    head = f"---@class orcs.{name}" + (f": orcs.{above}" if above else "")
    return "\n".join([head, *(_member(each) for each in made.members(name))])


def _member(member: Member) -> str:
    says = f" {member.says}" if member.says else ""
    return f"---@field {member.name}{'?' * member.optional} {member.type}{says}"


def _orcs(made: Api) -> str:
    lines = ["---@class orcs"]
    lines += [f"---@field {name} {each.type} {each.says}" for name, each in made.fields.items()]
    tables = {name.split(".")[0] for name in made.functions if "." in name}
    return "\n".join([*lines, "orcs = {}", *(f"orcs.{table} = {{}}" for table in sorted(tables))])


def _function(made: Api, function: Function) -> str:
    lines = [f"--- {each}" for each in _says(made, function)]
    for name, type_, optional in function.parameters:
        lines.append(f"---@{'vararg' if name == '...' else f'param {name}'}{'?' * optional} {type_}")
    lines += [f"---@return {each}" for each in split(function.gives)]
    names = ", ".join(parameter.name for parameter in function.parameters)
    return "\n".join([*lines, f"function orcs.{function.name}({names}) end"])


def _says(made: Api, function: Function) -> Iterator[str]:
    yield function.says
    if function.needs:
        yield f"Needs {_and(function.needs, *function.also)}."
    kinds = made.kinds_of(function)
    if kinds:
        yield f"Fails with {', '.join(kinds)}."


def _and(*kinds: str) -> str:
    return " and ".join(f"`{kind}`" for kind in kinds)


# ── the README's table ──────────────────────────────────────────────────────────────────────────────────


def table(made: Api | None = None) -> str:
    """Every name of orcs: how it is called, what it gives, the grant it needs, a line about it."""
    made = made or api()
    lines = ["| `orcs.` | gives | grant | |", "|---|---|---|---|"]
    for heading, group in made.groups.items():
        lines.append(f"| **{heading}** | | | |")
        lines += [_row(made, each) for each in group.values()]
    lines.append("| **Fields** | | | |")
    lines += [f"| `{name}` | {_cell(each.type)} | | {each.says} |" for name, each in made.fields.items()]
    return "\n".join(lines) + "\n"


def _row(made: Api, function: Function) -> str:
    needs = ", ".join(f"`{kind}`" for kind in (function.needs, *function.also) if kind)
    gives = ", ".join(_given(made, each) for each in split(function.gives))
    return f"| `{_cell(function.called)}` | {gives} | {needs} | {_cell(function.says)} |"


def _given(made: Api, type_: str) -> str:
    """A class of results as its members, {ok, content, size}; other types as they are."""
    members, name = list[Member](), type_.removeprefix("orcs.")
    while name in made.classes and name != "Result":
        members = [*made.members(name), *members]
        name = made.classes[name].get("extends", "")
    if name != "Result":
        return f"`{_cell(type_.replace('orcs.', ''))}`"
    shown = [each.name + "?" * each.optional for each in members if not each.type.startswith("fun(")]
    return f"`{{{', '.join(['ok', *shown[:6]])}{', …' if len(shown) > 6 else ''}}}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
