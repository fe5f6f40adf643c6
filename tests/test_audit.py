"""`luahost audit FILE`: what a run decided, as a table that a broken or hostile file does not break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import config_for, luahost, said

from luahost.testing import EchoModel


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("audit")
    (tmp_path / "m.lua").write_text("orcs.llm('Hello') orcs.http('GET', 'http://x.test/') return 1")
    with EchoModel() as echo:
        config_for(echo, tmp_path / "c.toml")
        ran = luahost("run", "m.lua", "--grant", "llm", "--config", "c.toml", "--audit", "a.jsonl", cwd=tmp_path)
    assert ran.code == 0, ran
    return tmp_path


def test_the_table_says_who_did_what_and_what_decided(here: Path) -> None:
    ran = said("audit", "a.jsonl", cwd=here)
    head, llm, http, total = ran.out.splitlines()
    assert ran.code == 0 and ran.err == "" and head.split()[:4] == ["TIME", "VM", "ACTION", "ABOUT"]
    assert llm.split()[2:4] == ["m", "llm"] and " echo " in llm and " allow " in llm and " granted " in llm
    assert " deny " in http and " no_grant " in http and " permission_denied" in http
    assert total.startswith("2 decisions: 1 allowed, 1 denied; ") and total.endswith(" tokens")


def test_only_the_denied_and_only_some_vms_are_shown_when_asked_for(here: Path) -> None:
    ran = said("audit", "a.jsonl", "--denied", "--json", cwd=here)
    assert [json.loads(line)["action"] for line in ran.out.splitlines()] == ["http"]
    assert len(said("audit", "a.jsonl", "--json", "--vm", "m*", cwd=here).out.splitlines()) == 2
    assert said("audit", "a.jsonl", "--json", "--vm", "other", cwd=here).out == ""


def test_broken_lines_are_counted_and_control_characters_are_text(here: Path) -> None:
    record = {
        "ts": 1e30,
        "seq": 1,
        "vm": "\x1b[2Jx",
        "capability": "llm",
        "action": "llm",
        "decision": "deny",
        "rule": "r",
    }
    lines = ["{", "[1]", "", "x" * (2 << 20), json.dumps(record)]
    (here / "b.jsonl").write_text("\n".join(lines))
    ran = said("audit", "b.jsonl", cwd=here)
    assert ran.code == 0 and "\x1b" not in ran.out and "1 decisions: 0 allowed, 1 denied" in ran.out
    assert ran.err == "luahost: b.jsonl: 3 lines are no record, left out\n"


def test_a_file_that_is_none_is_said_in_one_line(here: Path) -> None:
    for name in ("nothing.jsonl", "."):
        ran = said("audit", name, cwd=here)
        assert (ran.code, ran.out) == (2, "") and ran.err.count("\n") == 1
