"""orcs.spawn_child: who a child is, what it may use, and what it holds, checked against its parent at this instant.

    caps    absent: what the spawn grant's `default` says, else none · "none" · "inherit": all that the parent may
            hand on · a table: kind = true (the same), false (none), or a table of constraints that narrow

Whatever would be wider than the parent's is `capability_widening`, and nothing is spawned. The child's grants are
below the parent's own, so they share its budgets and end with it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import trio

from luahost.errors import ConfigError, LuahostError
from luahost.gate.constraints import KINDS, SpawnConstraints
from luahost.gate.grants import Grant
from luahost.gate.permits import Permit, SpawnAction
from luahost.gate.policy import judge
from luahost.gate.rules import Refusal, spawn_limit
from luahost.gate.sorts import SORTS, matches
from luahost.ops import modules, results
from luahost.ops.children.family import is_id
from luahost.ops.results import Result
from luahost.ops.world import Planned, Share
from luahost.values import SOURCE_BYTES, Limits, Source, Value, nearest


class ChildLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most the parent's own; what is absent is as the parent's."""

    memory_bytes: int | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    output_bytes: int | None = None
    value_bytes: int | None = None


class SpawnArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table of orcs.spawn_child: one of script, path and module says what runs."""

    id: str
    script: str | None = None
    path: str | None = None
    module: str | None = None
    caps: str | dict[str, bool | dict[str, Any]] | None = None
    limits: ChildLimits = ChildLimits()
    input: Any = None
    restore: Any = None


class Plan(Planned, frozen=True, kw_only=True):
    """A child as the gate judges it. `asked`: kind → the constraints that narrow the parent's grant."""

    action: SpawnAction
    asked: dict[str, dict[str, Any]]
    limits: Limits


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────


def plan(share: Share, args: SpawnArgs) -> Plan | Result | Refusal:
    try:
        return _plan(share, args)
    except _No as no:
        return no.answer


def _plan(share: Share, args: SpawnArgs) -> Plan | Result:
    if not is_id(args.id):
        return results.invalid("id", "1 to 64 letters, digits, _, . and - expected")
    if sum(each is not None for each in (args.script, args.path, args.module)) != 1:
        return results.invalid("script", "one of script, path and module expected")
    limits = _limits(share.program.limits, args.limits)
    asked = _asked(share, args.caps)
    me, chain = share.program, _chain(share)
    me.make_room(args.id, spawn_limit(chain, "max_children"))
    if me.has_child(args.id):
        return results.error("already_exists", f"there is a child {args.id!r} already", field="id")
    runs = msgspec.msgpack.encode([args.script, args.path, args.module, asked], order="deterministic")
    what = hashlib.sha256(runs).hexdigest()
    action = msgspec.structs.replace(_action(share, args.id, tuple(asked)), what=what)
    return Plan(action=action, asked=asked, limits=limits)


def wish(share: Share, detail: dict[str, Any]) -> SpawnAction | Result:
    """The action that orcs.can("spawn", {id, kinds}) is about."""
    id, kinds = detail.get("id", "child"), detail.get("kinds", [])
    unknown = [name for name in detail if name not in ("id", "kinds")]
    if unknown:
        return results.invalid(str(unknown[0])[:100], f"unknown{nearest(str(unknown[0]), ('id', 'kinds'))}")
    if not isinstance(id, str) or not is_id(id):
        return results.invalid("id", "1 to 64 letters, digits, _, . and - expected")
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        return results.invalid("kinds", "a list of texts expected")
    return _action(share, id, tuple(kinds))


def _action(share: Share, id: str, kinds: tuple[str, ...]) -> SpawnAction:
    me = share.program
    return SpawnAction(
        child=f"{me.name}/{id}",
        depth=me.depth + 1,
        siblings=me.living,
        tree=me.tree_size,
        kinds=kinds,
    )


def _chain(share: Share) -> list[SpawnConstraints]:
    grant = share.grants.get("spawn")
    held = [] if grant is None else [each.constraints for each in grant.chain()]
    return [each for each in held if isinstance(each, SpawnConstraints)]


def most_children(share: Share) -> int:
    """How many children may live at a time; 0 without a grant."""
    return spawn_limit(_chain(share), "max_children") if "spawn" in share.grants else 0


class _No(Exception):
    """The table asks for what cannot be: how that is answered."""

    def __init__(self, answer: Result | Refusal) -> None:
        super().__init__()
        self.answer = answer


def _limits(parent: Limits, asked: ChildLimits) -> Limits:
    changes = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None}
    for name, value in changes.items():
        most = getattr(parent, name)
        if most is not None and value > most:
            raise _No(_wider(f"limits.{name}", f"cannot be widened from {most:g} to {value:g}", most))
    try:
        return msgspec.structs.replace(parent, **changes)
    except ConfigError as error:
        field, _, why = error.message.partition(": ")
        raise _No(results.invalid(field, why)) from None


# ── caps ────────────────────────────────────────────────────────────────────────────────────────────────


def _asked(share: Share, caps: Any) -> dict[str, dict[str, Any]]:
    """Kind → the constraints that narrow the parent's grant of it."""
    if caps is None:
        caps = next(iter(share.grants["spawn"].said("default")), "none")
    if caps == "none":
        return {}
    if caps == "inherit":
        lists = share.grants["spawn"].said("may_delegate")
        return {kind: {} for kind in share.grants if all(matches(each, kind) for each in lists)}
    if isinstance(caps, str):
        raise _No(results.invalid("caps", 'a table, "inherit" or "none" expected'))
    asked: dict[str, dict[str, Any]] = {}
    for kind, wanted in caps.items():
        if kind not in KINDS:
            raise _No(results.invalid(f"caps.{kind[:100]}", f"unknown kind{nearest(kind, KINDS)}"))
        if wanted is False:
            continue
        if kind not in share.grants:
            raise _No(_wider(f"caps.{kind}", "this script holds no such grant itself"))
        asked[kind] = {} if wanted is True else {name: _plain(value) for name, value in wanted.items()}
        _must_narrow(share.grants[kind], asked[kind])
    return asked


def _plain(value: Any) -> Any:
    """Lua's {} is a list here, and 5.0 is a whole number."""
    if isinstance(value, dict) and not value:
        return []
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _must_narrow(held: Grant, constraints: dict[str, Any]) -> None:
    """Says what is wrong with the first constraint that does not."""
    known = KINDS[held.kind].__struct_fields__
    for name, value in constraints.items():
        field = f"caps.{held.kind}.{name[:100]}"
        if name not in known:
            raise _No(results.invalid(field, f"unknown constraint{nearest(name, known)}"))
        try:
            held.attenuate(**{name: value})
        except ConfigError as error:
            if error.kind != "capability_widening":
                raise _No(results.invalid(field, f"{SORTS[name].wanted} expected")) from None
            limit = getattr(held.constraints, name)
            why = error.message.partition(": ")[2]
            raise _No(_wider(field, why, limit if isinstance(limit, int | float) else None)) from None


def _wider(rule: str, why: str, limit: float | None = None) -> Refusal:
    message = f"spawn denied: a child cannot have more than its parent: {rule}: {why}"
    return Refusal(kind="capability_widening", message=message, rule=rule, limit=limit)


# ── the act ─────────────────────────────────────────────────────────────────────────────────────────────


async def spawn(permit: Permit[SpawnAction], planned: Plan, args: SpawnArgs, share: Share, emit: None) -> Result:
    """{ok, id, name} of a child that has run its top level and init(); or why there is none."""
    me = share.program
    # No wait between the gate's word and this: what the parent holds now is what was judged.
    grants = [me.delegate(kind, **constraints) for kind, constraints in planned.asked.items()]
    source = await _source(share, args)
    if isinstance(source, dict):
        return source
    if me.has_child(args.id):  # another call of this VM came first
        return results.error("already_exists", f"there is a child {args.id!r} already", field="id")
    # Reading the script, and an approval before it, took time: others may have taken the place meanwhile.
    no = judge(permit.grant, _action(share, args.id, tuple(planned.asked)), share.world.monotonic_s())
    if no is not None:
        return results.refused("spawn", no, **planned.action.about())
    permit.reached()
    try:
        child = await me.spawn(
            args.id, source, grants=grants, limits=planned.limits, input=args.input, restore=args.restore
        )
    except LuahostError as error:
        return failed(planned.action.child, error)
    return {"ok": True, "id": args.id, "name": child.name}


async def _source(share: Share, args: SpawnArgs) -> Source | Result:
    try:
        if args.script is not None:
            source = Source(args.script, args.id, share.directory)
        elif args.module is not None:
            module = await modules.module(share, modules.ModuleArgs(args.module))
            if not module["ok"]:
                return results.error("script_not_found", f"module: {module['error']}", field="module")
            source = Source(module["source"], module["name"], share.directory)
        else:
            text = await _beside(share.directory, args.path or "")
            if isinstance(text, dict):
                return text
            source = Source(text, (args.path or "").rpartition("/")[2], share.directory)
        source.lua()
    except ConfigError as error:
        return results.error("invalid_script", error.message)
    return source


async def _beside(directory: Path | None, path: str) -> bytes | Result:
    """A script beneath the parent's own directory, by the rules of modules: no dots, no links, no special files."""
    if directory is None:
        return results.error("script_not_found", "path: this script has no directory", field="path")
    names = path.split("/")
    if len(path) > SOURCE_BYTES or not all(is_id(name) for name in names):
        why = "path: a path beneath the script's directory expected, without . and .."
        return results.error("path_not_allowed", why, field="path")
    try:
        text = await trio.to_thread.run_sync(modules.read_beneath, directory, names)
    except OSError as error:
        return results.error("script_not_found", f"path: it cannot be read ({type(error).__name__})", field="path")
    if text is None:
        return results.error("script_not_found", "path: no such file beneath the script's directory", field="path")
    return text


def failed(child: str, error: LuahostError) -> Result:
    """What came of a child, for its parent. Its own refusals are told in words: they are not its parent's."""
    kind = error.kind
    if kind == "syntax_error":
        kind = "invalid_script"
    elif kind not in _AS_THEY_ARE:
        kind = "execution_failed"
    where, limit = getattr(error, "where", "") or None, getattr(error, "limit", None)
    return results.error(kind, error.message, child=child, cause=error.kind, where=where, limit=limit)


_AS_THEY_ARE = {
    "aborted",
    "cancelled",
    "capability_widening",
    "closed",
    "deadline_exceeded",
    "exhausted",
    "invalid_input",
    "not_runnable",
    "queue_full",
    "version_mismatch",
    "component_mismatch",
    "not_supported",
    "worker_lost",
}


def outcome(value: Value) -> Result:
    return {"ok": True, "result": value}
