"""Values on their way through the border and through JSON: what survives, what is refused, and with which words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_machine import Vm

from luahost.vm import protocol
from luahost.vm.protocol import Done, Failed

FAST = settings(max_examples=80, deadline=None)


class Echo:
    """One VM that gives back what it is given, in one of several ways; made once, used for many examples."""

    def __init__(self) -> None:
        self.vm = Vm(cpu_s=20.0)
        loaded = self.vm.load(
            """
            local ways = {
              echo = function(v) return v end,
              json = function(v) return orcs.json_encode(v) end,
              parse = function(v) return {orcs.json_parse(v)} end,
              reencode = function(v) return orcs.json_encode(orcs.json_parse(v)) end,
              kind = function(v) return math.type(v) or type(v) end,
            }
            return {on_request = function(r)
              local ok, v = pcall(ways[r.way], r.value)
              if not ok then return {error = v} end
              return {value = v}
            end}
            """
        )
        assert isinstance(loaded, Done)

    def __call__(self, way: str, value: Any) -> Any:
        answer = protocol.decode(self.vm.start("request", {"way": way, "value": value}).value)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer.get("value")


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [0, -1, 127, 128, 255, 256, -32, -33, -128, 65535, 65536, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63)]
)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=300)
invalid_texts = st.binary(max_size=300).filter(lambda b: not _is_utf8(b))
scalars = st.none() | st.booleans() | integers | floats | texts
values = st.recursive(
    scalars | invalid_texts,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(texts, inner, max_size=20),
    max_leaves=60,
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(texts, inner, max_size=8), max_leaves=40
)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, and zeros of the same sign."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


# ── the border ──────────────────────────────────────────────────────────────────────────────────────────


@FAST
@given(value=values)
def test_every_value_comes_back_as_it_went(echo: Echo, value: Any) -> None:
    assert same(echo("echo", value), value)


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 511, 512, 65535, 65536])
def test_texts_bytes_and_lists_of_every_head_come_back(echo: Echo, size: int) -> None:
    for value in (
        "x" * size,
        b"\xff" * size if size else "",
        ["y"] * size,
        {f"k{i}": i for i in range(size)} if size < 35000 else 0,
    ):
        assert same(echo("echo", value), value)


def test_integers_and_floats_stay_apart(echo: Echo) -> None:
    assert echo("kind", 1) == "integer" and echo("kind", 1.0) == "float"
    assert echo("kind", 2**63 - 1) == "integer" and echo("kind", b"\xff") == "string"


def test_none_is_nil_alone_and_null_inside(echo: Echo) -> None:
    assert isinstance(Vm().load("assert(type(...) == 'nil')", None), Done)
    assert echo("echo", [None, {"a": None}]) == [None, {"a": None}]
    assert Vm().run("return {orcs.null, a = nil, 1}") == [None, 1]


def test_an_empty_table_is_an_object_unless_it_is_marked_or_came_as_a_list(echo: Echo) -> None:
    assert Vm().run("return {{}, orcs.array{}, orcs.array()}") == [{}, [], []]
    assert same(echo("echo", [[], {}, {"a": []}]), [[], {}, {"a": []}])


# Both codecs refuse the same things. {expression: words of the refusal}
REFUSED = {
    "{1, 2, x = 3}": "both list items and named keys",
    "{x = 3, [1] = 1}": "both list items and named keys",
    "{1, nil, 3}": "a list with a gap",
    "{[1] = 1, [3] = 3}": "a list with a gap",
    "{[2] = 1}": "has no JSON form",
    "{[0] = 1}": "has no JSON form",
    "{[-1] = 1}": "has no JSON form",
    "{[1.5] = 1}": "has no JSON form",
    "{1, [1.5] = 1}": "has no JSON form",
    "{[true] = 1}": "has no JSON form",
    "{a = 1, [true] = 1}": "has no JSON form",
    "{[{}] = 1}": "has no JSON form",
    "{[print] = 1}": "has no JSON form",
    "0/0": "not finite",
    "{a = 1/0}": "not finite",
    "{-1/0}": "not finite",
    "print": "a function",
    "{a = {b = print}}": "a.b: a function",
    "{a = {1, coroutine.create(print)}}": "a[2]: a thread",
    "(function() local t = {} t.self = t return t end)()": "or a cycle",
    "(function() local a, b = {}, {} a[1], b[1] = b, a return a end)()": "or a cycle",
    "(function() local t = {} for i = 1, 200 do t = {t} end return t end)()": "nested deeper",
    "(function() local t = {} for i = 45, 0, -1 do t[1 << i] = true end return t end)()": "has no JSON form",
    "(function() local t = {1} for i = 1, 40 do t = {t, t} end return t end)()": "too large",
    "('x'):rep(9000000)": "too large",
    "{('x'):rep(5000000), ('y'):rep(5000000)}": "too large",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_both_codecs_refuse_with_the_same_words(expression: str) -> None:
    vm = Vm(cpu_s=20.0, value_bytes=100_000)
    assert isinstance(vm.load(f"value = {expression} return function() return value end"), Done)
    at_the_border = vm.start("run")
    assert isinstance(at_the_border, Failed) and at_the_border.kind == b"invalid_result"
    in_json = Vm(cpu_s=20.0, value_bytes=100_000).run(f"return select(2, pcall(orcs.json_encode, {expression}))")
    for message in (at_the_border.message.decode(), in_json):
        assert REFUSED[expression] in message
        assert "0x" not in message and len(message) < 400


def test_a_refusal_names_the_path_of_this_value_and_not_of_an_earlier_one(echo: Echo) -> None:
    vm = Vm()
    body = "pcall(orcs.json_encode, {deep = {deeper = {print}}}) return {select(2, pcall(orcs.json_encode, {[true] = 1})), orcs.llm('x', {a = {[1.5] = 1}}).error}"
    said = vm.run(body)
    assert "deep" not in said[0] and said[0].endswith("without a gap")
    assert "a: a table key of type number" in said[1]


def test_raw_access_only_no_metamethod_runs_and_no_state_is_shared() -> None:
    body = """
    local ran = 0
    local function m() ran = ran + 1 orcs.json_encode{'inner'} return true end
    local t = setmetatable({'a'}, {__eq = m, __len = m, __index = m, __pairs = m, __tostring = m, __lt = m, __call = m})
    return {orcs.json_encode{t, t}, ran, {t, t}}
    """
    assert Vm().run(body) == ['[["a"],["a"]]', 0, [["a"], ["a"]]]


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────


@FAST
@given(value=json_values)
def test_json_encode_writes_what_python_reads(echo: Echo, value: Any) -> None:
    assert same(json.loads(echo("json", value)), value if value is not None else None)


@FAST
@given(value=json_values, indent=st.sampled_from([None, 0, 2]), ascii=st.booleans())
def test_json_parse_reads_what_python_writes(echo: Echo, value: Any, indent: int | None, ascii: bool) -> None:
    document = json.dumps(value, indent=indent, ensure_ascii=ascii)
    parsed = echo("parse", document)
    assert same(parsed, [value])


@FAST
@given(document=st.text(st.sampled_from(list('[]{}",:0123456789.eE+-\\u tfn"ralsed\n')), max_size=40))
def test_json_parse_is_as_strict_as_the_standard(echo: Echo, document: str) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        wanted = json.loads(document, parse_constant=refuse)
        fits = _fits(wanted)
    except (ValueError, RecursionError):
        with pytest.raises(ValueError, match="json_parse"):
            echo("parse", document)
        return
    if fits:
        parsed = echo("parse", document)[0]
        assert json.dumps(parsed) == json.dumps(_as_lua(wanted))


def _fits(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_fits, value))
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    return not isinstance(value, float) or math.isfinite(value)


def _as_lua(value: Any) -> Any:
    """What Lua's 64-bit integers make of it."""
    if isinstance(value, list):
        return [_as_lua(v) for v in value]
    if isinstance(value, dict):
        return {k: _as_lua(v) for k, v in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


BAD = [
    "",
    "nul",
    "nulll",
    "tru",
    "True",
    "NaN",
    "Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    '"',
    '"a',
    '"\\x"',
    '"\\u12"',
    '"\\ud800"',
    '"\\udc00"',
    '"\\ud800x"',
    '"\\ud800\\u0041"',
    "'a'",
    "[",
    "]",
    "[1",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,,2]",
    "{",
    "}",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    "{a:1}",
    "{1:1}",
    '{"a":1 "b":2}',
    '{"a" 1}',
    "1 2",
    "[] []",
    "//x\n1",
    "/* */1",
    "#1",
    '"\t"',
    '"\n"',
    "1e999",
    "-1e999",
    "undefined",
    "(1)",
    "[1}",
    '{"a":1]',
    "\ufeff1",
    "\x00",
    '"\x00"',
    "1,",
    '"a" "b"',
    "--1",
    "1-1",
    "1e1.5",
    "[1]x",
]


@pytest.mark.parametrize("document", BAD)
def test_json_parse_refuses(echo: Echo, document: str) -> None:
    with pytest.raises(ValueError, match="json_parse: .* at byte"):
        echo("parse", document)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (" \n\r\t1 ", 1),
        ("-0", 0),
        ("-0.0", -0.0),
        ("1E2", 100.0),
        ("0.1e-1", 0.01),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", 2.0**63),
        ('"\\u00e9\\ud83d\\ude00\\/\\b\\f"', "\u00e9\U0001f600/\b\f"),
        ('"\x7f\u2028"', "\x7f\u2028"),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"":0}', {"": 0}),
        ("[[],{}]", [[], {}]),
        ("null", None),
    ],
)
def test_json_parse_takes(echo: Echo, document: str, value: Any) -> None:
    parsed = echo("parse", document)
    assert same(parsed, [value])


def test_json_refuses_invalid_utf8_both_ways(echo: Echo) -> None:
    for data in (b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"):
        with pytest.raises(ValueError, match="invalid_encoding"):
            echo("json", data)
        with pytest.raises(ValueError, match="invalid_encoding"):
            echo("json", {"k": [data]})
        with pytest.raises(ValueError, match="invalid_encoding"):
            echo("parse", b'"' + data + b'"')


def test_json_nests_to_128_and_not_deeper_both_ways(echo: Echo) -> None:
    for brackets in (("[", "]"), ('{"a":', "}")):
        fine = brackets[0] * 127 + "[]" + brackets[1] * 127
        assert echo("reencode", fine) == fine
        with pytest.raises(ValueError, match="nested deeper than 128"):
            echo("parse", brackets[0] * 128 + "[]" + brackets[1] * 128)
    assert "nested deeper than 128" in Vm().run(
        "local t = {} for i = 1, 128 do t = {t} end return select(2, pcall(orcs.json_encode, t))"
    )
    with pytest.raises(ValueError, match="nested deeper than 128"):
        echo("parse", "[" * 1_000_000)


def test_json_keys_come_in_order_and_numbers_keep_their_kind(echo: Echo) -> None:
    assert echo("json", {"b": 1, "a": 2.0, "\u00e9": 0.1, "A": 1e100}) == '{"A":1e+100,"a":2.0,"b":1,"\u00e9":0.1}'
    assert (
        echo("reencode", "[1,1.0,-0.0,1e2,0.1,123456789012345680.0]")
        == "[1,1.0,-0.0,100.0,0.1,1.2345678901234568e+17]"
    )


def test_json_null_and_the_empty_list_come_back_as_they_were(echo: Echo) -> None:
    assert (
        echo("reencode", '{"a":null,"b":[],"c":{},"d":[null,[null]]}')
        == '{"a":null,"b":[],"c":{},"d":[null,[null]]}'
    )
    assert (
        Vm().run(
            "return orcs.json_parse('null') == orcs.null and orcs.json_encode(nil) == 'null' and orcs.json_encode(orcs.null) == 'null'"
        )
        is True
    )


def test_json_has_size_limits_both_ways(echo: Echo) -> None:
    assert "too large" in Vm(cpu_s=10.0).run("return select(2, pcall(orcs.json_parse, ('x'):rep(9000000)))")
    assert "too large" in Vm(cpu_s=10.0).run("return select(2, pcall(orcs.json_encode, {('\\n'):rep(5000000)}))")
    with pytest.raises(ValueError, match="400 digits"):
        echo("parse", "1" + "0" * 1000)


def test_long_keys_are_sorted_under_the_hook() -> None:
    failed = Vm(cpu_s=0.1).fail(
        "local t = {} for i = 1, 35 do t[('\\0'):rep(200000) .. i] = i end for i = 1, 50 do orcs.json_encode(t) end"
    )
    assert failed.kind == b"cpu"
