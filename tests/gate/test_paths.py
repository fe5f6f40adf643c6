"""Paths as texts: one spelling or none, globs in no more steps than their lengths' product."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luahost.errors import ConfigError
from luahost.gate import paths
from luahost.gate.grants import Grant


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("a", "/w/a"),
        ("./a//b/", "/w/a/b"),
        (".", "/w"),
        ("../x", "/x"),
        ("../../../x", "/x"),
        ("/", "/"),
        ("/a/.", "/a"),
    ],
)
def test_a_path_has_one_absolute_form(path: str, absolute: str) -> None:
    assert paths.absolute(path, "/w") == absolute


@pytest.mark.parametrize(
    "path", ["", "a\0b", "~/x", "~root", "nope/../../x", "a/..", "/../etc", "x/" * 65, "x" * 5000]
)
def test_a_spelling_that_could_mean_two_places_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        paths.absolute(path, "/w")


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.py", ["a.py", "b.c.py"], ["x/a.py", ".a.py", "a.pyc"]),
        ("**/*.py", ["a.py", "x/y/a.py"], [".git/a.py", "x/.y/a.py", "x/.a.py"]),
        ("src/**", ["src/a", "src/a/b"], ["src", "srcs/a", "src/.a"]),
        (".github/**", [".github/a"], [".github/.a", "x/.github/a"]),
        (".env", [".env"], ["x/.env", ".envs"]),
        ("a?c", ["abc"], ["ac", "a/c", "abbc"]),
        ("a/**/b", ["a/b", "a/x/y/b"], ["a/xb", "b"]),
        ("*", ["a"], [".a", "a/b"]),
    ],
)
def test_a_glob_s_star_stays_in_one_name_and_never_stands_for_a_leading_dot(
    glob: str, yes: list[str], no: list[str]
) -> None:
    assert [path for path in yes if not paths.matches_glob((glob,), tuple(path.split("/")))] == []
    assert [path for path in no if paths.matches_glob((glob,), tuple(path.split("/")))] == []


name = st.text("ab.", min_size=1, max_size=4).filter(lambda text: text not in (".", ".."))
piece = st.text("ab.*?", min_size=1, max_size=4).filter(lambda text: text not in (".", "..", "**"))


@given(st.lists(st.just("**") | piece, min_size=1, max_size=4), st.lists(name, min_size=1, max_size=4))
def test_globs_agree_with_their_regular_expression(glob: list[str], names: list[str]) -> None:
    assert paths.matches_glob(("/".join(glob),), tuple(names)) == bool(
        _expression(glob).fullmatch("/".join(names) + "/")
    )


def _expression(glob: list[str]) -> re.Pattern[str]:
    text = ""
    for at, part in enumerate(glob):
        if part == "**":
            text += r"(?:(?!\.)[^/]+/)" + ("+" if at == len(glob) - 1 else "*")
        else:
            signs = "".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in part)
            text += ("" if part.startswith(".") else r"(?!\.)") + signs + "/"
    return re.compile(text)


def test_an_exploding_glob_is_matched_at_once() -> None:
    assert not paths.matches_glob(("*a" * 60 + "b",), ("a" * 4000,))
    assert not paths.matches_glob(("**/a/" * 60 + "b",), ("a",) * 60)


def test_roots_and_globs_only_narrow() -> None:
    grant = Grant("fs.read", roots=["/w"], globs=["**"])
    narrower = grant.attenuate(roots=["/w/src", "/w"], globs=["src/*.py", "**"])
    assert narrower.constraints.roots == ("/w/src", "/w")  # type: ignore[attr-defined]
    for wider in ({"roots": ["/"]}, {"roots": ["/w2"]}, {"roots": ["/w/../etc"]}, {"globs": [".git/**"]}):
        with pytest.raises(ConfigError, match="widened"):
            grant.attenuate(**wider)
    assert Grant.parse("fs.read:roots=/w,/v/x;max_bytes=5").constraints.roots == ("/w", "/v/x")  # type: ignore[attr-defined]
