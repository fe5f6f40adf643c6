"""The command, as a person meets it: real processes, a real model server on loopback, what is printed.

Where one claim has many cases they are said in this process; that a process says the same is a claim of its own.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, config_for, descendants, environment, luahost, said, start, wait_gone
from servers import FaultServer, html_instead_of_json, unused_port

from luahost.cli import checking, given, main
from luahost.errors import WorldError
from luahost.testing import EchoModel
from luahost.worker.check import names_of_orcs
from luahost.workers import zygote

ASK = 'return function(q) local r = orcs.llm(q or "hi") if not r.ok then error(r.error) end return r.content end'
STREAM = 'return function(q) orcs.llm(q, {session_id = "s", on_delta = orcs.output}) end'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of scripts, good and bad."""
    top = tmp_path_factory.mktemp("cli")
    for name, text in {
        "one.lua": "return 1",
        "ask.lua": ASK,
        "stream.lua": STREAM,
        "fails.lua": 'local x = 1\nerror("it broke")',
        "forges.lua": 'error("a\\27[31m\\rb\\nluahost: all is well", 0)',
        "syntax.lua": "local x = 1\nlocal y = = 2",
        "deep.lua": "x = " + "(" * 1000,
        "spins.lua": "while true do end",
        "sleeps.lua": "orcs.sleep(60)",
        "talks.lua": 'print("a", 1) orcs.log("warn", "careful\\nnow") orcs.output("b") return {x = {1, 2}}',
        "refused.lua": 'return orcs.llm("hi")',
        "wrong.lua": 'error(orcs.llm("hi", {provider = "nobody"}).error)',
        "once.lua": 'orcs.llm("the prompt is private", {session_id = "s"}) error("late")',
    }.items():
        (top / name).write_text(text)
    (top / "bom.lua").write_bytes(b"\xef\xbb\xbfreturn 'with a byte order mark'")
    (top / "binary.lua").write_bytes(b"\x1bLua\x54\x00")
    (top / "directory.lua").mkdir()
    os.mkfifo(top / "fifo.lua")
    (top / "wrong.json").write_text("{")
    (top / "broken.sessions").write_text('{"s": [{"role": "robot"}]}')
    (top / "unknown.toml").write_text("[limits]\nmemory = 1\n")
    (top / "spaced.toml").write_text("this is not TOML")
    for name, (text, _) in BAD_CONFIGURATIONS.items():
        (top / f"{name}.toml").write_text(text)
    (top / "deep.toml").write_text("a = " + "[" * 5000)
    return top


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoModel]:
    with EchoModel() as model:
        yield model


@pytest.fixture(scope="module")
def config(here: Path, echo: EchoModel) -> str:
    return str(config_for(echo, here / "echo.toml"))


# ── bad input: each one clear line, and its exit code ───────────────────────────────────────────────────

BAD_CONFIGURATIONS: dict[str, tuple[str, str]] = {
    "parent": ('[[grants]]\nkind = "llm"\nparent = "x"', "unknown key 'grants.parent'"),
    "self": ('[[grants]]\nkind = "llm"\nself = "x"', "unknown key 'grants.self'"),
    "broken": ("[limits]\nmemory_bytes = 1.5e7", "limits.memory_bytes: a whole number of bytes"),
    "never": ("[providers.ollama]\ndeadlines = { connect_s = nan }", "providers.ollama.deadlines: .* got nan"),
    "past": ("[providers.ollama]\ndeadlines = { overall_s = -5 }", "providers.ollama.deadlines: .*overall_s"),
    "authority": ('[transport]\nca_file = "gone.pem"', "transport.ca_file: a file that can be read"),
    "no_authority": ('[transport]\nca_file = "one.lua"', "transport.ca_file: a PEM file of certificates"),
    "health": ('[providers.ollama]\nhealth_path = ".evil.test/"', "providers.ollama.health_path: a path like"),
}

BAD: dict[str, tuple[int, str, list[str]]] = {
    "missing file": (2, "script: nope.lua does not exist", ["run", "nope.lua"]),
    "directory": (2, "directory.lua is a directory", ["run", "directory.lua"]),
    "FIFO": (2, "fifo.lua is a FIFO", ["run", "fifo.lua"]),
    "no script": (2, "Missing argument 'SCRIPT'", ["run"]),
    "syntax error": (1, "syntax.lua:2: unexpected symbol near '='", ["run", "syntax.lua"]),
    "binary chunk": (2, r"binary.lua: Lua text expected, got compiled Lua \(bytecode\)", ["run", "binary.lua"]),
    "failing script": (1, "^luahost: fails.lua:2: it broke$", ["run", "fails.lua"]),
    "forged error": (1, r"luahost: forges.lua:1: a\\x1b\[31m\\x0db\\nluahost: all", ["run", "forges.lua"]),
    "wrong JSON": (
        2,
        "--input: JSON expected: .*; a text is '\"…\"', or @FILE",
        ["run", "one.lua", "--input", "x"],
    ),
    "wrong JSON file": (2, "--input wrong.json: JSON expected", ["run", "one.lua", "--input", "@wrong.json"]),
    "wrong JSON on stdin": (2, "--input -: JSON expected", ["run", "one.lua", "--input", "-"]),
    "missing input file": (2, "--input: gone.txt does not exist", ["run", "one.lua", "--input", "@gone.txt"]),
    "unknown grant": (
        2,
        "grant: one of llm, .* expected, got 'lm'; did you mean 'llm'",
        ["run", "one.lua", "--grant", "lm"],
    ),
    "unknown constraint": (
        2,
        "unknown constraint 'max_call'; did",
        ["run", "one.lua", "--grant", "llm:max_call=1"],
    ),
    "grant twice": (
        2,
        "one grant of each kind",
        ["run", "one.lua", "--grant", "llm", "--grant", "llm:max_calls=1"],
    ),
    "unknown provider": (2, "provider: one of .* got 'olama'; did", ["run", "one.lua", "--provider", "olama"]),
    "unknown provider in Lua": (1, "provider: one of .* got 'nobody'", ["run", "wrong.lua", "--grant", "llm"]),
    "unknown option": (2, "No such option.*--grnt", ["run", "one.lua", "--grnt", "llm"]),
    "unknown command": (2, "No such command 'rnu'", ["rnu"]),
    "wrong memory": (2, "--memory: a size like 64MiB", ["run", "one.lua", "--memory", "much"]),
    "too little memory": (2, "limits.memory_bytes", ["run", "one.lua", "--memory", "1"]),
    "wrong timeout": (2, "--timeout: seconds from .* got 0", ["run", "one.lua", "--timeout", "0"]),
    "timeout that is no number": (2, "--timeout: seconds .* got nan", ["run", "one.lua", "--timeout", "nan"]),
    "memory without end": (2, "--memory: a size like 64MiB", ["run", "one.lua", "--memory", "9" * 400]),
    "user name in hosts": (
        2,
        "grant http: hosts: a user name or password does not belong in a URL$",
        ["run", "one.lua", "--grant", "http:hosts=http://u:p@a.test"],
    ),
    **{
        f"configuration: {name}": (
            2,
            f"^luahost: {name}.toml: {said}",
            ["run", "one.lua", "--config", f"{name}.toml"],
        )
        for name, (_, said) in BAD_CONFIGURATIONS.items()
    },
    "missing configuration": (2, "gone.toml does not exist", ["run", "one.lua", "--config", "gone.toml"]),
    "TOML nested without end": (2, "deep.toml: TOML expected", ["run", "one.lua", "--config", "deep.toml"]),
    "no TOML": (2, "spaced.toml: TOML expected", ["run", "one.lua", "--config", "spaced.toml"]),
    "unknown key": (2, "unknown key 'limits.memory'; did you mean", ["run", "one.lua", "--config", "unknown.toml"]),
    "broken sessions": (2, "broken.sessions: ", ["run", "one.lua", "--sessions", "broken.sessions"]),
    "sessions nowhere": (2, "--sessions: no/where cannot be written", ["run", "one.lua", "--sessions", "no/where"]),
    "audit on a directory": (
        2,
        "--audit: directory.lua cannot be written",
        ["run", "one.lua", "--audit", "directory.lua"],
    ),
    "audit on a FIFO": (2, "--audit: fifo.lua cannot be written", ["run", "one.lua", "--audit", "fifo.lua"]),
    "no grant": (3, "ask.lua:1: llm denied: .*`--grant llm`", ["run", "ask.lua"]),
    "too narrow a grant": (
        3,
        "`--grant 'llm:models=llama3.2'` allows it",
        ["run", "ask.lua", "--grant", "llm:models=x"],
    ),
    "no budget": (4, "max_calls is used up", ["run", "ask.lua", "--grant", "llm:max_calls=0"]),
    "no CPU": (4, "spins.lua:1: the CPU limit of 0.1 s is used up", ["run", "spins.lua", "--cpu", "0.1"]),
    "no time": (
        4,
        "the time limit of 0.4 s is used up; sleeps was waiting for clock.sleep",
        ["run", "sleeps.lua", "--timeout", "0.4"],
    ),
    "key absent": (
        5,
        "no key for openai: set OPENAI_API_KEY",
        ["run", "ask.lua", "--grant", "llm", "--provider", "openai"],
    ),
    "port closed": (
        5,
        "ask.lua:1: http://.* nothing listens there",
        ["run", "ask.lua", "--grant", "llm", "--config", "closed.toml"],
    ),
    "HTML instead of JSON": (5, "ask.lua:1: ", ["run", "ask.lua", "--grant", "llm", "--config", "html.toml"]),
    "check: missing file": (2, "script: nope.lua does not exist", ["check", "nope.lua"]),
    "check: syntax error": (1, "luahost: syntax.lua:2: unexpected symbol near '='", ["check", "syntax.lua"]),
    "check: too deep": (1, "luahost: deep.lua: nested too deeply", ["check", "deep.lua"]),
    "check: binary chunk": (2, "bytecode", ["check", "binary.lua"]),
    "providers: no TOML": (2, "spaced.toml: TOML expected", ["providers", "--config", "spaced.toml"]),
}


@pytest.fixture(scope="module")
def servers(here: Path) -> Iterator[None]:
    """The configurations of two providers that are no good."""
    (here / "closed.toml").write_text(
        f'provider = "gone"\n[providers.gone]\nbase_url = "http://127.0.0.1:{unused_port()}"\nmodel = "m"\n'
    )
    with FaultServer(html_instead_of_json) as server:
        config_for(server, here / "html.toml")
        yield


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_its_exit_code(name: str, here: Path) -> None:
    code, pattern, words = BAD[name]
    ran = said(*words, cwd=here, stdin="{" if "stdin" in name else "")
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("luahost: "), ran.err
    assert re.search(pattern, ran.err), ran.err


@pytest.mark.parametrize("name", ["failing script", "wrong JSON on stdin", "no grant", "no CPU", "missing file"])
def test_a_process_says_and_returns_the_same(name: str, here: Path) -> None:
    words, stdin = BAD[name][2], "{" if "stdin" in name else ""
    assert luahost(*words, cwd=here, stdin=stdin) == said(*words, cwd=here, stdin=stdin)


def test_a_broken_sessions_file_stays_as_it_is(here: Path) -> None:
    assert said(*BAD["broken sessions"][2], cwd=here).code == 2
    assert (here / "broken.sessions").read_text() == '{"s": [{"role": "robot"}]}'


# ── what is printed ─────────────────────────────────────────────────────────────────────────────────────


def test_output_and_the_result_go_to_stdout_and_logs_to_stderr(here: Path) -> None:
    ran = luahost("run", "talks.lua", cwd=here)
    assert ran == (0, 'a\t1\nb\n{\n  "x": [\n    1,\n    2\n  ]\n}\n', "WARN talks: careful\\nnow\n")


def test_with_json_stdout_is_the_result_alone_on_one_line(here: Path) -> None:
    ran = luahost("run", "talks.lua", "--json", cwd=here)
    assert ran == (0, '{"x": [1, 2]}\n', "a\t1\nWARN talks: careful\\nnow\nb\n")


@pytest.mark.parametrize(
    ("script", "words", "out"),
    [
        ("return nil", [], ""),
        ("return nil", ["--json"], "null\n"),
        ("return 'as it is\\n'", [], "as it is\n"),
        ("return 'no line end'", [], "no line end\n"),
        ("return 'a\\xffb'", [], "a\ufffdb\n"),
        ("return {'\\xff', '\\u{9b}2J\\u{202e}'}", ["--json"], '["\ufffd", "\\u009b2J\\u202e"]\n'),
        ("return {success = true, data = 7}", [], "7\n"),
    ],
)
def test_a_result_is_a_text_as_it_is_or_json(tmp_path: Path, script: str, words: list[str], out: str) -> None:
    (tmp_path / "s.lua").write_text(script)
    assert said("run", "s.lua", *words, cwd=tmp_path) == (0, out, "")


def test_a_line_that_was_left_open_is_ended_before_the_result(here: Path, config: str) -> None:
    (here / "open.lua").write_text('orcs.llm("hi", {on_delta = orcs.output}) return "result"')
    ran = luahost("run", "open.lua", "--grant", "llm", "--config", config, cwd=here)
    assert ran == (0, "You said: hi\nresult\n", "")


@pytest.mark.parametrize(
    ("words", "stdin", "out"),
    [
        (["--input", '{"a": null, "b": [1.5]}'], "", '{"b": [1.5]}'),
        (["--input", "-"], "[true]", "[true]"),
        (["--input", "@data.json"], "", '{"k": "é"}'),
        (["--input", "@data.txt"], "", '"{\\"k\\": text}"'),
        (["--input", "@data.bin"], "", '"\ufffd"'),
        ([], "", "null"),
    ],
)
def test_input_is_json_a_file_or_stdin(tmp_path: Path, words: list[str], stdin: str, out: str) -> None:
    (tmp_path / "s.lua").write_text("return function(x) if type(x) == 'table' then x.a = nil end return x end")
    (tmp_path / "data.json").write_bytes(b'\xef\xbb\xbf{"k": "\xc3\xa9"}')
    (tmp_path / "data.txt").write_text('{"k": text}')
    (tmp_path / "data.bin").write_bytes(b"\xff")
    assert said("run", "s.lua", "--json", *words, cwd=tmp_path, stdin=stdin) == (0, out + "\n", "")


def test_a_script_with_a_byte_order_mark_runs(here: Path) -> None:
    assert said("run", "bom.lua", cwd=here) == (0, "with a byte order mark\n", "")


def test_a_failed_call_as_result_is_printed_and_decides_the_exit_code(here: Path) -> None:
    ran = said("run", "refused.lua", "--json", cwd=here)
    assert ran.code == 3
    assert json.loads(ran.out)["error_kind"] == "permission_denied"
    assert ran.err.startswith("luahost: llm denied: ") and ran.err.count("\n") == 1


def test_output_over_the_limit_is_dropped_and_said(here: Path) -> None:
    (here / "much.toml").write_text("[limits]\noutput_bytes = 10\n")
    (here / "much.lua").write_text('print(("x"):rep(20))')
    ran = said("run", "much.lua", "--config", "much.toml", cwd=here)
    assert (ran.code, ran.out) == (0, "x" * 10 + "\n")
    assert ran.err == "luahost: 11 bytes of output were dropped: over the limit of 10\n"


def test_debug_adds_the_tracebacks_of_lua_and_python(here: Path) -> None:
    ran = luahost("run", "fails.lua", "--debug", cwd=here)
    assert ran.code == 1
    assert ran.err.startswith("luahost: fails.lua:2: it broke\n")
    assert "stack traceback:" in ran.err and "Traceback (most recent call last)" in ran.err


def test_a_bug_of_ours_is_one_line_and_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(script: str) -> str:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(checking, "check", broken)
    assert main(["check", "x.lua"]) == 70
    assert capsys.readouterr().err == "luahost: internal error: RuntimeError: two\\nlines; --debug shows where\n"


# ── grants, providers, limits ───────────────────────────────────────────────────────────────────────────


def test_a_grant_on_the_command_line_replaces_the_files_of_the_same_kind(here: Path, echo: EchoModel) -> None:
    path = str(config_for(echo, here / "granted.toml"))
    with open(path, "a") as file:
        file.write('[[grants]]\nkind = "llm"\nmax_calls = 0\n')
    assert said("run", "ask.lua", "--config", path, cwd=here).code == 4
    ran = said("run", "ask.lua", "--config", path, "--grant", "llm:max_calls=1", cwd=here)
    assert ran == (0, "You said: hi\n", "")


def test_provider_and_model_are_for_calls_that_name_none(here: Path, echo: EchoModel) -> None:
    (here / "two.toml").write_text(
        f'model = "for-the-other"\n[providers.mine]\nbase_url = "{echo.url}"\nmodel = "own"\n'
    )
    (here / "model.lua").write_text('return orcs.llm("hi").model')
    command = ["run", "model.lua", "--grant", "llm", "--config", "two.toml", "--provider", "mine"]
    assert said(*command, cwd=here).out == "own\n"
    assert said(*command, "--model", "given", cwd=here).out == "given\n"


def test_a_provider_is_called_as_the_file_spells_it(here: Path, tmp_path: Path, echo: EchoModel) -> None:
    (tmp_path / "c.toml").write_text(
        f'provider = "Mine"\n[providers.Mine]\nbase_url = "{echo.url}"\nmodel = "echo"\n'
    )
    ran = said("run", "ask.lua", "--grant", "llm", "--config", str(tmp_path / "c.toml"), cwd=here)
    assert (ran.code, ran.out) == (0, "You said: hi\n")


def test_memory_and_isolation_reach_the_vm(here: Path) -> None:
    (here / "grows.lua").write_text('local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end')
    ran = luahost("run", "grows.lua", "--memory", "2MiB", "--isolation", "shared", cwd=here)
    assert ran.code == 4
    assert "the memory limit of 2 MiB is used up" in ran.err


# ── sessions, audit ─────────────────────────────────────────────────────────────────────────────────────


def test_sessions_are_loaded_before_and_written_after_also_when_the_script_failed(
    here: Path, tmp_path: Path, echo: EchoModel, config: str
) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    command = ["run", "once.lua", "--grant", "llm", "--config", config, "--sessions", str(link)]
    for turns in (1, 2):
        assert said(*command, cwd=here).code == 1
        assert len(json.loads(real.read_text())["sessions"]["s"]["messages"]) == 2 * turns
    assert len(echo.requests[-1].body["messages"]) == 3  # the first turn was sent along with the second
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "real.json"]


def test_a_write_of_sessions_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "s.json").write_text("{}")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorldError, match="No space left"):
        given.SessionsFile(tmp_path / "s.json").write('{"new": []}')
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    assert (tmp_path / "s.json").read_text() == "{}"


def test_a_directory_that_is_gone_and_a_closed_stdin_are_one_line(here: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    shell = 'cd gone && rmdir ../gone && exec "$@"'
    for script, words, told in (
        (shell, ["run", str(here / "one.lua")], "the working directory cannot be used"),
        (shell, ["providers", "--no-ping"], ""),
        ('exec "$@" <&-', ["run", str(here / "one.lua"), "--input", "-"], "--input -: JSON on stdin expected"),
    ):
        (tmp_path / "gone").mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", script, "sh", *COMMAND, *words],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (2 if told else 0), done.stderr
        assert told in done.stderr and done.stderr.count("\n") == bool(told)


def test_a_name_that_is_no_text_is_no_reason_not_to_run(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff")
    odd.mkdir()
    (odd / os.fsdecode(b"s\xff.lua")).write_text("return {orcs.read('data.txt').ok, orcs.glob('*').count}")
    (odd / "data.txt").write_text("x")
    script = os.fsdecode(b"s\xff.lua")
    ran = said("run", script, "--grant", "fs.read", "--audit", "../audit.jsonl", "--json", cwd=odd)
    assert (ran.code, ran.out) == (0, "[true, 1]\n"), ran.err
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["read", "glob"]


def test_a_full_disk_under_the_audit_ends_what_needs_a_grant_and_is_said(here: Path, tmp_path: Path) -> None:
    (tmp_path / "reads.lua").write_text(
        "local told = {} for n = 1, 20 do told[n] = orcs.read('data.txt').ok end return told"
    )
    (tmp_path / "data.txt").write_text("x")
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); import luahost.cli; "
    words = ["run", "reads.lua", "--grant", "fs.read", "--audit", "audit.jsonl", "--json"]
    done = subprocess.run(
        [COMMAND[0], "-c", f"{limited}sys.exit(luahost.cli.main({words}))"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5 and "the audit cannot be written" in done.stderr and done.stderr.count("\n") == 1
    told = json.loads(done.stdout)
    assert told[0] is True and told[-1] is False
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert told.count(True) == len(lines), "only the act under way is without its line"
    again = said("run", "reads.lua", "--grant", "fs.read", "--audit", "audit.jsonl", cwd=tmp_path)
    assert again.code == 0
    shown = said("audit", "audit.jsonl", cwd=tmp_path)
    assert f"{len(lines) - 1 + 20} decisions" in shown.out and "1 line is no record" in shown.err


def test_the_audit_has_a_line_for_each_decision_and_neither_key_nor_prompt(here: Path, tmp_path: Path) -> None:
    key, audit = "sk-very-secret-0123456789", tmp_path / "audit.jsonl"
    with EchoModel(key=key) as model:
        path = config_for(model, tmp_path / "keyed.toml")
        path.write_text(path.read_text() + 'key_env = "ECHO_KEY"\n')
        command = ["run", "once.lua", "--config", str(path), "--audit", str(audit), "--debug", "--sessions"]
        for grant in (["--grant", "llm"], []):
            ran = said(*command, str(tmp_path / "s.json"), *grant, cwd=here, env={"ECHO_KEY": key})
            assert ran.code == 1 and key not in ran.out + ran.err
        assert model.calls == 1
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["decision"], line["rule"]) for line in lines] == [("allow", "granted"), ("deny", "no_grant")]
    assert key not in audit.read_text() and "private" not in audit.read_text()
    assert key not in (tmp_path / "s.json").read_text()


# ── ends that come from outside ─────────────────────────────────────────────────────────────────────────

TEXT = json.dumps("word " * 39)


def _first_words(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.read(1)


@pytest.fixture
def slow(here: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the command on a stream that takes seconds; what was started is ended."""
    with EchoModel(delay_s=0.1) as model:
        path = str(config_for(model, here / "slow.toml"))
        begun: list[subprocess.Popen[bytes]] = []

        def begin(*words: str) -> subprocess.Popen[bytes]:
            command = ["run", "stream.lua", "--grant", "llm", "--config", path, "--input", TEXT, *words]
            begun.append(start(*command, cwd=here))
            return begun[-1]

        yield begin
        for process in begun:
            process.kill()
            process.communicate()


@pytest.mark.alone
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_a_signal_during_a_stream_ends_it_within_a_second_and_leaves_no_process(
    slow: Any, tmp_path: Path, number: int, code: int, word: str
) -> None:
    sessions = tmp_path / "s.json"
    process = slow("--sessions", str(sessions))
    assert _first_words(process) == b"Y"  # text is there as it comes: the answer takes four seconds
    below = descendants(process.pid)
    assert len(below) == 2, "the zygote and its worker"
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    took_s = time.monotonic() - began
    assert process.returncode == code
    assert err.decode() == f"luahost: {word}; stream was waiting for llm\n"
    assert out.endswith(b"\n") and b"Traceback" not in out
    assert took_s < 1.0
    assert wait_gone(below) == []
    assert json.loads(sessions.read_text())["sessions"] == {}, "the turn was not whole"


def test_a_signal_before_the_script_began_is_one_line(here: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "one.lua", "--input", "-"],
        cwd=here,
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not _catches(process.pid, signal.SIGTERM):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (143, b"luahost: ended by SIGTERM\n")


def _catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for this signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def test_a_reader_that_goes_away_ends_the_run_quietly(here: Path) -> None:
    (here / "prints.lua").write_text("while true do print('line') orcs.sleep(0.01) end")
    process = start("run", "prints.lua", cwd=here)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(5)
    below = descendants(process.pid)
    process.stdout.close()
    assert process.wait(timeout=5) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    assert wait_gone(below) == []


def test_a_signal_ends_a_run_whose_reader_does_not_read(here: Path) -> None:
    (here / "floods.lua").write_text("for i = 1, 100 do print(('x'):rep(10000)) end orcs.sleep(60)")
    (here / "floods.toml").write_text('[limits]\noutput_bytes = "10MiB"\n')
    process = start("run", "floods.lua", "--config", "floods.toml", cwd=here)
    assert _first_words(process) == b"x"
    time.sleep(0.2)  # the pipe is full by now
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    _, err = process.communicate()
    assert err == b"luahost: interrupted; floods was running\n" or b"waiting for clock.sleep" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_result_that_cannot_be_written_is_not_a_success(here: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "run", "one.lua"],
            cwd=here,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 5
    assert b"No space left on device" in done.stderr and done.stderr.count(b"\n") == 1


# ── light, check, providers ─────────────────────────────────────────────────────────────────────────────

LOADED = (
    "import sys; from luahost.cli import main; code = main(sys.argv[1:]); "
    "print(code, [name for name in ('trio', 'httpx', 'rich', 'lupa') if name in sys.modules], file=sys.stderr)"
)


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        (["--version"], "0 []"),
        (["--help"], "0 []"),
        (["check", "ask.lua"], "0 []"),
        (["run", "one.lua"], "0 ['trio']"),
    ],
)
def test_a_start_imports_only_what_it_needs(here: Path, words: list[str], loaded: str) -> None:
    done = subprocess.run(
        [COMMAND[0], "-c", LOADED, *words], cwd=here, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == loaded + "\n"


def test_check_names_the_capabilities_and_runs_nothing(here: Path) -> None:
    (here / "names.lua").write_text('while true do orcs.llm("x") orcs["llm_ping"]() orcs.log("info", "y") end')
    ran = said("check", "names.lua", cwd=here)
    assert ran == (0, "names.lua: syntax ok; names: llm (orcs.llm, orcs.llm_ping)\n", "")
    assert said("check", "one.lua", cwd=here).out == "one.lua: syntax ok; names no capability\n"


def test_the_lexer_skips_strings_and_comments_and_says_what_it_cannot_follow() -> None:
    source = rb"""
        -- orcs.a  [[ orcs.b
        --[==[ orcs.c ]] orcs.d ]==] local s = "orcs.e \" orcs.f" .. 'orcs.g\' \z
           orcs.h' .. [[ orcs.i ]] .. [=[ ]] orcs.j ]=]
        x = orcs . --[[ here ]] llm, orcs["log"], orcs[ [[now]] ], 1 ..orcs.sleep(1)
        local mine = orcs
        """
    assert names_of_orcs(source) == (["llm", "log", "now", "sleep"], 6)
    assert names_of_orcs(b"return orcs[name]") == ([], 1)


def test_providers_tells_key_and_reachability_and_never_the_key(tmp_path: Path, echo: EchoModel) -> None:
    path = config_for(echo, tmp_path / "c.toml")
    path.write_text(
        path.read_text() + 'key_env = "ECHO_KEY"\n'
        f'[providers.gone]\nbase_url = "http://127.0.0.1:{unused_port()}"\nkey_env = "GONE_KEY"\n'
    )
    ran = said("providers", "--config", str(path), cwd=tmp_path, env={"ECHO_KEY": "sk-secret"})
    rows = {line.split()[0]: line for line in ran.out.splitlines()}
    assert ran.code == 0 and ran.err == "" and "sk-secret" not in ran.out
    assert re.fullmatch(rf"echo \(default\)\s+openai\s+{echo.url}\s+yes\s+yes, \d+ ms\s*", rows["echo"])
    assert re.search(r"no: GONE_KEY is not set\s+no: connection_refused\s*$", rows["gone"])
    assert "none needed" in rows["ollama"]
    assert "not asked" in said("providers", "--no-ping", cwd=tmp_path).out


def test_providers_says_whether_the_key_is_taken(tmp_path: Path) -> None:
    with EchoModel(key="sk-right") as keyed:
        path = config_for(keyed, tmp_path / "c.toml")
        path.write_text(path.read_text() + 'key_env = "ECHO_KEY"\n')
        told = {
            key: said("providers", "--config", str(path), cwd=tmp_path, env=env).out
            for key, env in {"": {}, "wrong": {"ECHO_KEY": "sk-wrong"}, "right": {"ECHO_KEY": "sk-right"}}.items()
        }
    assert "yes; it wants a key" in told[""]
    assert "yes; it does not accept the key" in told["wrong"]
    assert re.search(r"yes, \d+ ms", told["right"])
    assert not any("sk-" in text for text in told.values())


# ── doctor ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_tries_each_promise_and_all_of_them_hold_here(tmp_path: Path) -> None:
    ran = luahost("doctor", "--json", cwd=tmp_path)
    report = json.loads(ran.out)
    lines = {line["name"]: line for line in report["lines"]}
    assert {
        "system calls",
        "seccomp",
        "Landlock",
        "user",
        "address space",
        "death",
        "memory_bytes",
        "cpu_s",
    } <= set(lines)
    broken = [name for name, line in lines.items() if line["holds"] is False]
    assert (ran.code == 0) == report["holds"] == (not broken)
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        assert not broken, lines


def test_doctor_says_what_does_not_hold_and_ends_with_5(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The same, where workers run without any cage."""
    bare = "    from luahost.worker import confine; confine.close = lambda parent, space=0: None\n    confine.drop_privileges = confine.fence_zygote = lambda: None; confine.try_out = confine.Kernel\n    confine.drop_descriptors = lambda fd: __import__('os').dup2(fd, 0)\n"
    at = zygote._PROGRAM.index("    from luahost")
    monkeypatch.setattr(zygote, "_PROGRAM", zygote._PROGRAM[:at] + bare + zygote._PROGRAM[at:])
    assert main(["doctor"]) == 5
    said = capsys.readouterr().out
    for name in ("system calls", "seccomp", "no_new_privs", "descriptors", "address space", "death"):
        assert f"NO  {name}" in said, said
    assert "a worker can open a file, make a socket, start a process" in said
    assert said.splitlines()[-1].startswith("does not hold here: system calls, seccomp")
