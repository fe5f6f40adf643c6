"""The tool that runs Lua's official tests. With LUA_TESTS=their folder, the tests themselves."""

from __future__ import annotations

import os
from pathlib import Path

import lua_suite
import pytest

TESTES = os.environ.get("LUA_TESTS")


@pytest.mark.skipif(not TESTES, reason="LUA_TESTS does not name the folder testes of Lua 5.4.8")
def test_the_official_tests_pass() -> None:
    paths = [path for path in sorted(Path(TESTES or "").glob("*.lua")) if path.stem not in lua_suite.NOT_RUN]
    verdicts = [lua_suite.run(path) for path in paths]
    assert len(verdicts) >= 19
    assert not [each for each in verdicts if each.failure]


def test_a_line_left_out_keeps_the_numbers_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lua_suite.LEFT_OUT, "odd", [("2 4-5", "for a test")])
    path = tmp_path / "odd.lua"
    path.write_text("local a = 1\nassert(false)\nassert(a == 1)\nassert(\nfalse)\nassert(a == 2)\n")
    verdict = lua_suite.run(path)
    assert "odd.lua:6: assertion failed!" in verdict.failure
    assert (verdict.assertions, verdict.left_out) == (4, 2)


def test_a_file_that_differs_from_the_one_the_table_was_made_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nextvar.lua"
    path.write_text("-- not it\n" * 400)
    with pytest.raises(SystemExit, match=r"nextvar.lua:330 is not as in v5.4.8"):
        lua_suite.run(path)
