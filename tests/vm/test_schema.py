"""Arguments against a tool's schema: what fits, what is said of what does not, and that no schema can hold the check up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_machine import Vm

from luahost.vm import protocol
from luahost.vm.protocol import Call

ASK = """
return function(schema)
  return orcs.llm('x', {resolve = true, max_tool_turns = 100, tools = {{name = 't', parameters = schema, run = function() return 'FITS' end}}}).ok
end
"""


def misfit(value: Any, schema: Any, vm: Vm | None = None) -> str | None:
    """What the model would be told of these arguments; None when they fit."""
    if vm is None or not vm.tasks:
        vm = vm or Vm(cpu_s=5.0)
        vm.load(ASK)
    asked = vm.start("run", schema)
    assert isinstance(asked, Call), asked
    turn = {"ok": True, "content": "", "session_id": "s", "intents": [{"id": "c", "name": "t", "params": value}]}
    again = vm.reply(asked.id, turn)
    assert isinstance(again, Call), again
    result = protocol.decode(again.args)["opts"]["tool_results"][0]
    assert result["is_error"] is (result["content"] != "FITS")
    return None if result["content"] == "FITS" else str(result["content"])


NODE = {
    "type": "object",
    "properties": {"next": {"$ref": "#"}, "v": {"$ref": "#/$defs/value"}},
    "$defs": {"value": {"type": "integer"}},
}

CASES: list[tuple[Any, Any, str | None]] = [
    ({"a": 1}, {}, None),
    ({"a": 1}, True, None),
    ({"a": 1}, False, "arguments: nothing is allowed here, got object"),
    ({"a": "x"}, {"properties": {"a": {"type": "integer"}}}, 'arguments.a: integer expected, got string "x"'),
    ({"a": 1.0}, {"properties": {"a": {"type": "integer"}}}, None),
    ({"a": 1.5}, {"properties": {"a": {"type": "integer"}}}, "arguments.a: integer expected, got number 1.5"),
    ({"a": True}, {"properties": {"a": {"type": "number"}}}, "arguments.a: number expected, got true"),
    ({"a": None}, {"properties": {"a": {"type": "string"}}}, "arguments.a: string expected, got null"),
    ({"a": None}, {"properties": {"a": {"type": "string", "nullable": True}}}, None),
    ({"a": None}, {"properties": {"a": {"type": ["string", "null"]}}}, None),
    ({"a": []}, {"properties": {"a": {"type": ["string", "null"]}}}, "arguments.a: string or null expected, got array"),
    ({"a": []}, {"properties": {"a": {"type": "object"}}}, "arguments.a: object expected, got array"),
    ({"a": {"b": 1}}, {"properties": {"a": {"type": "array"}}}, "arguments.a: array expected, got object"),
    ({"a": 1}, {"properties": {"a": {"type": "spaceship"}}}, None),
    ({}, {"required": ["a"]}, "arguments.a: is required"),
    ({"a": None}, {"required": ["a"]}, None),
    ({"b": 1, "a": 2}, {"additionalProperties": False}, "arguments.a: no such name"),
    ({"b": 1}, {"additionalProperties": {"type": "string"}}, "arguments.b: string expected, got number 1"),
    ({"b c": 1}, {"additionalProperties": False}, 'arguments["b c"]: no such name'),
    ({"x_1": 1}, {"additionalProperties": False, "patternProperties": {"^x_": {}}}, None),
    ({"a": 1}, {"minProperties": 2}, "arguments: at least 2 names expected, got 1"),
    ({"a": 1, "b": 2}, {"maxProperties": 1}, "arguments: at most 1 names expected, got 2"),
    ({"a": "z"}, {"properties": {"a": {"enum": ["x", "y", None]}}}, 'arguments.a: one of "x", "y", null expected, got string "z"'),
    ({"a": [1, {"b": 2}]}, {"properties": {"a": {"enum": [[1, {"b": 2.0}]]}}}, None),
    ({"a": 2}, {"properties": {"a": {"const": 1}}}, "arguments.a: 1 expected, got number 2"),
    ({"a": False}, {"properties": {"a": {"const": False}}}, None),
    ({"a": None}, {"properties": {"a": {"const": None}}}, None),
    ({"a": 0}, {"properties": {"a": {"const": False}}}, "arguments.a: false expected, got number 0"),
    ({"a": 1}, {"properties": {"a": {"minimum": 2}}}, "arguments.a: at least 2 expected, got 1"),
    ({"a": 3}, {"properties": {"a": {"maximum": 2.5}}}, "arguments.a: at most 2.5 expected, got 3"),
    ({"a": 2}, {"properties": {"a": {"exclusiveMinimum": 2}}}, "arguments.a: more than 2 expected, got 2"),
    ({"a": 2}, {"properties": {"a": {"exclusiveMaximum": 2}}}, "arguments.a: less than 2 expected, got 2"),
    ({"a": 0.3}, {"properties": {"a": {"multipleOf": 0.1}}}, None),
    ({"a": 7}, {"properties": {"a": {"multipleOf": 2}}}, "arguments.a: a multiple of 2 expected, got 7"),
    ({"a": 7}, {"properties": {"a": {"multipleOf": 0}}}, None),
    ({"a": "é€"}, {"properties": {"a": {"maxLength": 2}}}, None),
    ({"a": "é€"}, {"properties": {"a": {"minLength": 3}}}, "arguments.a: at least 3 characters expected, got 2"),
    ({"a": "x" * 500}, {"properties": {"a": {"enum": ["y"]}}}, f'arguments.a: one of "y" expected, got string "{"x" * 40}…"'),
    ({"a": "abc"}, {"properties": {"a": {"pattern": "^(a+)+$", "format": "uuid"}}}, None),
    ({"a": [1, "x"]}, {"properties": {"a": {"items": {"type": "integer"}}}}, 'arguments.a[2]: integer expected, got string "x"'),
    ({"a": [1, "x"]}, {"properties": {"a": {"prefixItems": [{"type": "integer"}], "items": False}}}, 'arguments.a[2]: nothing is allowed here, got string "x"'),
    ({"a": [1]}, {"properties": {"a": {"minItems": 2}}}, "arguments.a: at least 2 items expected, got 1"),
    ({"a": [1, 2]}, {"properties": {"a": {"maxItems": 1}}}, "arguments.a: at most 1 items expected, got 2"),
    ({"a": [1, 2, 1.0]}, {"properties": {"a": {"uniqueItems": True}}}, "arguments.a: items that differ expected, 1 is there twice"),
    ({"a": [{"b": [1]}, {"b": [1]}]}, {"properties": {"a": {"uniqueItems": True}}}, "arguments.a: items that differ expected, item 2 is there twice"),
    ({"a": [{"b": [1]}, {"b": [2]}, 1, True, "1", None, []]}, {"properties": {"a": {"uniqueItems": True}}}, None),
    ({"a": 1}, {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, "arguments.a: none of the 2 alternatives fits number 1; the first: arguments.a: string expected, got number 1"),
    ({"a": None}, {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, None),
    ({"a": 1}, {"properties": {"a": {"anyOf": [{"type": "string"}]}}}, "arguments.a: string expected, got number 1"),
    ({"a": 4}, {"properties": {"a": {"oneOf": [{"minimum": 1}, {"multipleOf": 2}]}}}, "arguments.a: exactly one of the 2 alternatives expected to fit, 2 do"),
    ({"a": 3}, {"properties": {"a": {"oneOf": [{"minimum": 1}, {"multipleOf": 2}]}}}, None),
    ({"a": 3}, {"properties": {"a": {"allOf": [{"minimum": 1}, {"maximum": 2}]}}}, "arguments.a: at most 2 expected, got 3"),
    ({"a": 3}, {"properties": {"a": {"not": {"type": "integer"}}}}, "arguments.a: what the schema excludes, got number 3"),
    ({"next": {"next": {"v": 1}}}, NODE, None),
    ({"next": {"next": {"v": "x"}}}, NODE, 'arguments.next.next.v: integer expected, got string "x"'),
    ({"a": 1}, {"properties": {"a": {"$ref": "#/definitions/b~1c"}}, "definitions": {"b/c": {"type": "string"}}}, "arguments.a: string expected, got number 1"),
    ({"a": 1}, {"properties": {"a": {"$ref": "#/allOf/0"}}, "allOf": [{"not": {"const": 1}}]}, "arguments.a: what the schema excludes, got number 1"),
    ({"a": 1}, {"properties": {"a": {"$ref": "#/$defs/gone"}}}, "arguments.a: the schema refers to #/$defs/gone, which it does not have"),
    ({"a": 1}, {"properties": {"a": {"$ref": "https://example.com/schema"}}}, None),
    ({"a\n\x1b[2J:": 1}, {"additionalProperties": False}, 'arguments["a??[2J?"]: no such name'),
    ({"a": "\n\x1b"}, {"properties": {"a": {"type": "null"}}}, 'arguments.a: null expected, got string "??"'),
]  # fmt: skip


def test_what_does_not_fit_is_said_with_its_path_what_was_wanted_and_what_came() -> None:
    vm = Vm(cpu_s=5.0)
    for value, schema, words in CASES:
        assert misfit(value, schema, vm) == words, (value, schema)


HOSTILE = {
    "a reference to itself": {"$ref": "#"},
    "references in a ring": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "alternatives that double at each level": {
        "$ref": "#/$defs/n0",
        "$defs": {f"n{i}": {"anyOf": [{"$ref": f"#/$defs/n{i + 1}"}] * 2} for i in range(40)} | {"n40": False},
    },
    "all of itself": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "not not not": {"not": {"$ref": "#"}},
    "odd types everywhere": {
        "type": {"a": 1}, "required": {"x": 1}, "properties": [1], "enum": 5, "items": "x", "anyOf": "x", "minimum": "1", "$ref": 7,
        "additionalProperties": "x", "oneOf": {}, "minProperties": None, "const": {"a": []},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_makes_the_check_endless_or_break(name: str) -> None:
    vm = Vm(cpu_s=2.0)
    said = misfit({"a": [1, 2]}, HOSTILE[name], vm)
    assert said is None or len(said) < 20_000
    assert vm.stats.cpu_us < 1_000_000


def test_many_items_that_must_differ_are_bounded() -> None:
    vm = Vm(cpu_s=5.0)
    said = misfit({"a": [{"b": i} for i in range(3000)]}, {"properties": {"a": {"uniqueItems": True}}}, vm)
    assert said is None or "too long to check" in said
    assert vm.stats.cpu_us < 1_000_000


# ── against a reading of its own ────────────────────────────────────────────────────────────────────────

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "bb", 1.5, 2.0])
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from("abc"), v, max_size=3),
    max_leaves=6,
)
FULL = VALUES.filter(lambda v: "[]" not in repr(v) and "{}" not in repr(v))  # written in Lua, {} is both
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({}, optional={
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3),
        "enum": st.lists(FULL, max_size=3), "const": FULL,
        "minimum": st.integers(-2, 2), "exclusiveMaximum": st.integers(-2, 2), "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": st.integers(0, 2), "maxItems": st.integers(0, 2), "uniqueItems": st.booleans(),
        "required": st.lists(st.sampled_from("abc"), max_size=2), "maxProperties": st.integers(0, 2),
    }),
    lambda s: st.fixed_dictionaries({}, optional={
        "properties": st.dictionaries(st.sampled_from("abc"), s, max_size=2), "additionalProperties": s, "items": s,
        "prefixItems": st.lists(s, min_size=1, max_size=2), "anyOf": st.lists(s, min_size=1, max_size=2),
        "oneOf": st.lists(s, min_size=1, max_size=3), "allOf": st.lists(s, min_size=1, max_size=2), "not": s,
    }),
    max_leaves=6,
)  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def is_a(v: Any, name: str) -> bool:
    number = isinstance(v, int | float) and not isinstance(v, bool)
    return {
        "null": v is None,
        "boolean": isinstance(v, bool),
        "integer": number and v == int(v),
        "number": number,
        "string": isinstance(v, str),
        "array": isinstance(v, list),
        "object": isinstance(v, dict),
    }[name]


def fits(v: Any, s: Any) -> bool:
    """The words of the specification, one line each."""
    if isinstance(s, bool):
        return s
    types = s.get("type", TYPES)
    rules = [any(is_a(v, name) for name in ([types] if isinstance(types, str) else types))]
    rules += [any(same(v, each) for each in s["enum"])] if "enum" in s else []
    rules += [same(v, s["const"])] if "const" in s else []
    if is_a(v, "number"):
        rules += [
            v >= s.get("minimum", v),
            v < s.get("exclusiveMaximum", v + 1),
            (v / s.get("multipleOf", v or 1)) % 1 == 0,
        ]
    if isinstance(v, str):
        rules += [len(v) >= s.get("minLength", 0)]
    if isinstance(v, list):
        prefix = s.get("prefixItems", [])
        rules += [len(v) <= s.get("maxItems", len(v)), all(map(fits, v, prefix))]
        rules += [fits(each, s.get("items", True)) for each in v[len(prefix) :]]
        if s.get("uniqueItems"):
            rules += [not any(same(a, b) for i, a in enumerate(v) for b in v[:i])]
    if isinstance(v, dict):
        known = s.get("properties", {})
        rules += [name in v for name in s.get("required", [])] + [len(v) <= s.get("maxProperties", len(v))]
        rules += [fits(each, known.get(name, s.get("additionalProperties", True))) for name, each in v.items()]
    rules += [any(fits(v, each) for each in s["anyOf"])] if "anyOf" in s else []
    rules += [sum(fits(v, each) for each in s["oneOf"]) == 1] if "oneOf" in s else []
    rules += [all(fits(v, each) for each in s.get("allOf", []))]
    rules += [not fits(v, s["not"])] if "not" in s else []
    return all(rules)


SHARED = Vm(cpu_s=600.0)


@settings(max_examples=150, deadline=None)
@given(VALUES, SCHEMAS)
def test_it_agrees_with_a_second_reading_of_the_specification(value: Any, schema: Any) -> None:
    said = misfit(value, schema, SHARED)
    assert (said is None) is fits(value, schema), (said, msgspec.json.encode(schema))
