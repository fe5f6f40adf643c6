"""Text, hashes, checks and TOML in the VM, against Python's own."""

from __future__ import annotations

import hashlib
import random
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_machine import Vm

from luahost.gate.paths import matches_glob
from luahost.vm.protocol import Done, Failed


def call(vm: Vm, body: str, *args: Any) -> Any:
    """What the body returns; it finds the arguments in `...`, a list."""
    want = vm.load(f"return function(...) {body} end")
    assert isinstance(want, Done), want
    return vm.finish(vm.start("run", list(args)))


@pytest.fixture(scope="module")
def vm() -> Vm:
    return Vm()


def test_text_helpers_never_cut_a_character(vm: Vm) -> None:
    body = "local a = ... return orcs.text.truncate(a[1], a[2])"
    assert call(vm, body, "häß", 3) == "häß"
    assert call(vm, body, "häßlich", 3) == "hä…"
    assert call(vm, body, "日本語テキスト", 4) == "日本語…"
    assert call(vm, body, "abc", 0) == ""
    assert call(vm, body, b"\x80\x80abcdef", 4) == b"\x80\x80abc\xe2\x80\xa6"
    assert vm.run("return {orcs.text.len('日本'), orcs.text.len('\\x80\\xff'), orcs.text.len('')}") == [2, 1, 0]
    assert vm.run("return orcs.text.split('a, b, c', ', ')") == ["a", "b", "c"]
    assert vm.run("return orcs.text.split('a, b, c', ', ', 2)") == ["a", "b, c"]
    assert vm.run("return orcs.text.split('', '.')") == [""]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400), st.integers(1, 30))
def test_chunks_put_together_are_the_text_and_whole_characters(text: str, tokens: int) -> None:
    pieces = call(Vm(), "local a = ... return orcs.array(orcs.text.chunks(a[1], {tokens = a[2]}))", text, tokens)
    assert "".join(pieces) == text  # a piece that is bytes would not join
    assert all(len(piece.encode()) <= max(4 * tokens, 4) for piece in pieces)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_are_too_odd_for_the_text_helpers(data: bytes, size: int) -> None:
    body = """
      local a = ...
      local cut = orcs.text.truncate(a[1], a[2], "")
      assert(orcs.text.len(cut) <= a[2] + 1 and a[1]:sub(1, #cut) == cut)
      assert(table.concat(orcs.text.chunks(a[1], { tokens = a[2] })) == a[1])
      assert(#table.concat(orcs.text.chunks(a[1], { tokens = a[2], overlap = a[2] // 2 })) >= #a[1])
      assert(table.concat(orcs.text.split(a[1], "a"), "a") == a[1])
      return orcs.text.len(a[1]) <= #a[1]"""
    assert call(Vm(), body, data, size) is True


def test_chunks_end_at_paragraphs_and_begin_with_what_came_before(vm: Vm) -> None:
    text = "One two three.\n\nFour five six. Seven eight nine.\n\nTen."
    assert call(vm, "local a = ... return orcs.text.chunks(a[1], {tokens = 5})", text)[0] == "One two three.\n\n"
    twice = call(vm, "local a = ... return orcs.text.chunks(a[1], {tokens = 8, overlap = 2})", text)
    assert all(b.startswith(a[-8:]) for a, b in zip(twice, twice[1:], strict=False))


def test_a_hash_is_that_of_hashlib(vm: Vm) -> None:
    seeded = random.Random(5)
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 1000):
        data = seeded.randbytes(size)
        assert call(vm, "local a = ... return orcs.hash(a[1])", data) == hashlib.sha256(data).hexdigest()


def test_checks_tell_every_rule_that_is_broken(vm: Vm) -> None:
    ask = "local a = ... return orcs['sanitize_' .. a[1]](a[2])"
    assert call(vm, ask, "arg", "gpt-4 $HOME 'x'") == {"ok": True, "value": "gpt-4 $HOME 'x'"}
    bad = call(vm, ask, "arg", "a\0b\nc")
    assert [each["rule"] for each in bad["violations"]] == ["control_char"] * 2
    assert bad["violations"][0]["position"] == 2 and bad["error_kind"] == "invalid_input"
    for path in ("../x", "a/../b", "/etc/passwd", "~/x", "C:\\x", "a\\..\\b", "..", "a/.."):
        assert call(vm, ask, "path", path)["violations"][0]["rule"] == "path_traversal", path
    assert call(vm, ask, "path", "src/..a/b.c")["ok"]
    rules = {each["rule"] for each in call(vm, ask, "strict", "../x; rm $HOME/* \1")["violations"]}
    assert rules == {"control_char", "shell_meta", "env_expansion", "glob", "path_traversal"}
    assert len(call(vm, ask, "strict", ";" * 5000)["violations"]) == 100


def test_globs_match_as_the_gate_does() -> None:
    seeded = random.Random(11)
    vm, parts = Vm(), ["a", "*", "**", "?", ".x", "a*b", "*.py", ".*"]
    names = ["a", "b", ".x", "ab", "aab", "m.py", ".h.py", "x"]
    globs = ["/".join(seeded.choices(parts, k=seeded.randint(1, 4))) for _ in range(60)]
    paths = ["/".join(seeded.choices(names, k=seeded.randint(1, 4))) for _ in range(60)]
    for glob in globs:
        found = call(vm, "local a = ... return orcs.glob_match({a[1]}, a[2])", glob, paths)
        assert found["matched"] == [path for path in paths if matches_glob((glob,), tuple(path.split("/")))], glob
        assert len(found["matched"]) + len(found["unmatched"]) == len(paths)


_NAMES = st.text(min_size=1, max_size=6)
_SCALARS = (
    st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_toml_that_is_written_is_read_again_as_it_was(value: dict[str, Any]) -> None:
    text = call(Vm(), "local a = ... return orcs.toml_encode(a[1])", value)
    assert tomllib.loads(text) == value


@pytest.mark.parametrize(
    "value",
    [
        "{1, x = 2}",
        "{orcs.null}",
        "{a = orcs.null}",
        "{1, 2}",
        "{a = print}",
        "{a = 0/0}",
        "{a = '\\xff'}",
        "{a = {[3] = 1}}",
    ],
)
def test_what_toml_has_no_form_for_is_refused(vm: Vm, value: str) -> None:
    assert (
        vm.run(f"local ok, why = pcall(orcs.toml_encode, {value}) return not ok and type(why) == 'string'") is True
    )


def test_a_cycle_is_no_toml(vm: Vm) -> None:
    assert "cycle" in vm.run("local t = {} t.t = t local _, why = pcall(orcs.toml_encode, t) return why")


ATTACKS = {
    "hash of much": "local s = ('x'):rep(8 << 20) while true do orcs.hash(s) end",
    "chunks of one byte": "return #orcs.text.chunks(('x'):rep(8 << 20), {tokens = 1, overlap = 0})",
    "split that finds itself": "local s = ('a'):rep(4 << 20) while true do orcs.text.split(s, s .. 'b') end",
    "split at each byte": "local s = ('a'):rep(8 << 20) while true do orcs.text.split(s, 'a') end",
    "len of broken bytes": "local s = ('\\x80'):rep(8 << 20) while true do orcs.text.len(s) end",
    "globs upon globs": "local p, n = ('**/'):rep(2000), ('a/'):rep(2000) while true do orcs.glob_match({p}, {n}) end",
    "stars upon stars": "local p, n = ('*a'):rep(2000), ('a'):rep(20000) while true do orcs.glob_match({p}, {n}) end",
    "strict of much": "local s = (';'):rep(8 << 20) while true do orcs.sanitize_strict(s) end",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_text_functions_run_under_the_scripts_own_limits(name: str) -> None:
    vm = Vm(cpu_s=0.3)
    want = vm.load(ATTACKS[name])
    assert isinstance(want, Failed) and want.kind in (b"cpu", b"memory"), want
