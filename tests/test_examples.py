"""What people copy first works: every file of examples/, and every block of the README.

A block of the README says in its first line what it is: `file=NAME` is written to the directory the other
blocks run in; Lua with `run` and all Python is run; in `sh` each line that begins with luahost is run, and ends
with code 0 or with what `# exit=N` says. EchoModel is the default provider, and stands where port 8080 is said.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command import TOP, Ran, config_for, environment, luahost

from luahost.testing import EchoModel

EXAMPLES = TOP / "examples"
README = (TOP / "README.md").read_text()


class Block(NamedTuple):
    line: int
    language: str
    words: list[str]
    text: str

    @property
    def file(self) -> str | None:
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)


def blocks() -> list[Block]:
    found = []
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        line = README.count("\n", 0, match.start()) + 1
        found.append(Block(line, match[1], match[2].split(), match[3]))
    return found


def shell_lines() -> list[tuple[int, str]]:
    lines = [
        (block.line + number, line)
        for block in blocks()
        if block.language == "sh"
        for number, line in enumerate(block.text.splitlines(), 1)
    ]
    return [(number, line) for number, line in lines if line.startswith("luahost ")]


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoModel]:
    with EchoModel() as model:
        yield model


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, echo: EchoModel) -> Path:
    """The files of the README, and a configuration for its commands."""
    top = tmp_path_factory.mktemp("readme")
    config_for(echo, top / "echo.toml")
    for block in blocks():
        if block.file is not None:
            (top / block.file).write_text(block.text.replace("http://127.0.0.1:8080", echo.url))
    return top


def python(*words: str | Path, cwd: Path) -> Ran:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment(), capture_output=True, timeout=60, check=False
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


# ── the README ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_block_of_the_readme_is_of_a_kind_that_is_tested() -> None:
    for block in blocks():
        assert block.language in ("lua", "python", "sh", "toml"), f"line {block.line}"
        if block.language == "lua":
            assert block.file or block.words == ["run"], f"line {block.line}: file=NAME or run expected"
    assert README.count("\n```") == 2 * len(blocks()), "a fence without its other end"


@pytest.mark.parametrize(("line", "command"), shell_lines(), ids=lambda value: str(value)[:60])
def test_the_readmes_commands_do_what_it_says(line: int, command: str, here: Path) -> None:
    words = shlex.split(command, comments=True)[1:]
    if words[0] == "run" and "--config" not in words:
        words += ["--config", "echo.toml"]
    wanted = re.search(r"# exit=(\d+)", command)
    ran = luahost(*words, cwd=here)
    assert ran.code == (int(wanted[1]) if wanted else 0), f"README.md:{line}: {ran}"
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "block", [each for each in blocks() if each.words == ["run"]], ids=lambda each: f"line{each.line}"
)
def test_the_readmes_lua_runs(block: Block, here: Path) -> None:
    (here / "block.lua").write_text(block.text)
    assert luahost("run", "block.lua", "--grant", "llm", "--config", "echo.toml", cwd=here) == (0, "", "")


@pytest.mark.parametrize(
    "block", [each for each in blocks() if each.language == "python"], ids=lambda each: f"line{each.line}"
)
def test_the_readmes_python_runs(block: Block, here: Path) -> None:
    (here / "block.py").write_text(block.text)
    assert python("block.py", cwd=here) == (0, "", "")


def test_the_readmes_first_screen_has_the_two_commands_and_make_has_them() -> None:
    makefile = (TOP / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in "\n".join(README.splitlines()[:25])
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_the_readmes_refusal_is_the_real_one(here: Path) -> None:
    ran = luahost("run", "hello.lua", cwd=here)
    quoted = re.search(r"^``(luahost: hello\.lua.*?) … (allows it)``", README, re.MULTILINE)
    assert quoted and ran.err.startswith(quoted[1]) and ran.err.endswith(quoted[2] + "\n")


# ── the examples ────────────────────────────────────────────────────────────────────────────────────────


def test_the_tools_example_lets_the_model_look_things_up(here: Path) -> None:
    ran = luahost("run", str(EXAMPLES / "tools.lua"), "--json", "--grant", "llm", "--config", "echo.toml", cwd=here)
    assert (ran.code, json.loads(ran.out)["answer"], json.loads(ran.out)["turns"]) == (
        0,
        "Tool said: 2\n[3 more tool turns]",
        2,
    ), ran
    assert "the model looks up eggs" in ran.err


def test_parallel_asks_all_its_questions_and_tells_the_answers_in_their_order(here: Path) -> None:
    questions = json.dumps({"questions": [f"Question {number}?" for number in range(1, 8)]})
    command = ["run", str(EXAMPLES / "parallel.lua"), "--config", "echo.toml", "--input", questions]
    ran = luahost(*command, "--grant", "llm:max_calls=5", cwd=here)
    lines = ran.out.splitlines()
    assert [line for line in lines if line[0].isdigit()] == [
        f"{number}. Question {number}?" for number in range(1, 8)
    ]
    said = [line.strip() for line in lines if not line[0].isdigit()]
    assert sorted(said[:5]) == [f"You said: Question {number}?" for number in range(1, 6)]
    assert said[5:] == ["no answer: budget_exceeded"] * 2


def test_summarize_streams_what_the_model_says_of_a_file(here: Path) -> None:
    command = ["run", str(EXAMPLES / "summarize.lua"), "--input", f"@{TOP / 'README.md'}", "--config", "echo.toml"]
    ran = luahost(*command, "--grant", "llm", cwd=here)
    assert ran.code == 0 and ran.err == ""
    assert ran.out.startswith(f"A text of {len(README.split())} words. It begins: “# luahost Runs agent scripts")
    refused = luahost(*command, cwd=here)
    assert (refused.code, refused.out) == (3, "")
    assert re.fullmatch(r"luahost: summarize\.lua:\d+: llm denied: .*\n", refused.err)


def test_chat_remembers_over_two_runs_what_it_saved(here: Path, echo: EchoModel) -> None:
    command = ["run", str(EXAMPLES / "chat.lua"), "--json", "--grant", "llm", "--config", "echo.toml", "--input"]
    first = json.loads(luahost(*command, json.dumps({"lines": ["I am Ada.", "Who am I?"]}), cwd=here).out)
    assert first["answers"] == ["You said: I am Ada.", "You said: Who am I?"]
    (here / "saved.json").write_text(json.dumps({"lines": ["And now?"], "saved": first["saved"]}))
    second = json.loads(luahost(*command, "@saved.json", cwd=here).out)
    assert second["turns"] == first["turns"] + 2 == 7
    sent = [message["content"] for message in echo.requests[-1].body["messages"]]
    assert sent[1::2] == ["I am Ada.", "Who am I?", "And now?"]


def test_extract_gives_a_table_that_fits_its_schema(here: Path, echo: EchoModel) -> None:
    command = [
        "run",
        str(EXAMPLES / "extract.lua"),
        "--json",
        "--grant",
        "llm:max_calls=3",
        "--config",
        "echo.toml",
    ]
    ran = luahost(*command, "--input", f"@{TOP / 'README.md'}", cwd=here)
    assert ran.code == 0, ran
    facts = json.loads(ran.out)["facts"]
    assert facts["title"].startswith("# luahost Runs agent scripts") and facts["words"] == len(README.split())
    assert facts["kind"] == "documentation" and facts["claims"]
    assert echo.requests[-1].body["response_format"]["type"] == "json_schema"


def test_extract_asks_again_when_an_answer_does_not_fit(here: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def reply(messages: list[dict[str, Any]]) -> str:
        said.append(messages[-1]["content"])
        fits = '{"title": "t", "words": 2, "kind": "other", "claims": ["c"]}'
        return fits if len(said) > 1 else '{"title": "t", "words": "two"}'

    with EchoModel(reply=reply) as model:
        path = config_for(model, tmp_path / "c.toml")
        command = ["run", str(EXAMPLES / "extract.lua"), "--json", "--grant", "llm", "--config", str(path)]
        ran = luahost(*command, "--input", '"a text"', cwd=here)
    assert ran.code == 0, ran
    assert json.loads(ran.out)["facts"]["kind"] == "other"
    assert said[1].startswith("That does not fit: answer")


def test_fallback_says_who_answered_and_who_could_not(here: Path) -> None:
    asked = json.dumps({"ask": "Why?", "models": ["echo/down", "echo/up"]})
    command = ["run", str(EXAMPLES / "fallback.lua"), "--json", "--grant", "llm", "--config", "echo.toml"]
    ran = luahost(*command, "--input", asked, cwd=here)
    assert ran.code == 0, ran
    result = json.loads(ran.out)
    assert (result["answer"], result["by"]) == ("You said: Why?", "echo/up")
    assert [(each["model"], each["error_kind"]) for each in result["failed"]] == [("down", "overloaded")]
    assert "down could not answer" in ran.err


def test_the_research_teams_tree_and_audit_show_who_was_denied_and_who_was_revoked(here: Path) -> None:
    with EchoModel(delay_s=0.03) as slow:
        config = config_for(slow, here / "slow.toml")
        command = [
            "run",
            str(EXAMPLES / "research_team.lua"),
            "--tree",
            "--audit",
            "team.jsonl",
            "--config",
            str(config),
        ]
        command += ["--grant", "spawn", "--grant", "llm:models=scout-1,writer-1,critic-1;max_calls=6"]
        ran = luahost(*command, cwd=here)
    assert ran.code == 0, ran
    assert ran.out.splitlines() == [
        "scout asked scout-1: answered",
        "writer asked writer-1: answered",
        "writer asked critic-1: model_not_allowed",
        "critic asked critic-1: capability_revoked",
        "3 of the manager's calls are left",
    ]
    drawn = ran.err
    assert re.search(r"^research_team .* llm: 3 calls, \d+ tokens used; 3 calls left", drawn, re.MULTILINE)
    assert re.search(
        r"research_team/scout +Completed +llm: 1 calls, \d+ tokens used; 1 calls left$", drawn, re.MULTILINE
    )
    assert re.search(
        r"research_team/writer +Completed +llm: 1 calls, \d+ tokens used; 1 calls left +1 denied$",
        drawn,
        re.MULTILINE,
    )
    assert re.search(
        r"research_team/critic +Completed +llm: 1 calls, \d+ tokens used; revoked +1 denied$", drawn, re.MULTILINE
    )
    audit = [json.loads(line) for line in (here / "team.jsonl").read_text().splitlines()]
    who = [
        (each["vm"].rpartition("/")[2], each["decision"], each["rule"], each.get("error_kind")) for each in audit
    ]
    assert sorted(each for each in who if each[3]) == [
        ("critic", "allow", "granted", "capability_revoked"),
        ("research_team", "deny", "caps.llm.max_calls", "capability_widening"),
        ("writer", "deny", "models", "model_not_allowed"),
    ]
    assert {len(each["grant_ids"]) for each in audit if each["capability"] == "llm"} == {3}  # worker, team, manager


def test_code_review_reads_a_repository_and_writes_a_report_where_it_may(here: Path, echo: EchoModel) -> None:
    (here / "out").mkdir()
    command = ["run", str(EXAMPLES / "code_review.lua"), "--json", "--config", "echo.toml"]
    command += ["--input", json.dumps({"files": "luahost/gate/*.py", "report": str(here / "out" / "review.md")})]
    grants = ["--grant", "llm", "--grant", f"fs.read:roots={TOP};globs=**,.git/**"]
    refused = luahost(*command, *grants, cwd=here)
    assert (refused.code, json.loads(refused.out)["error_kind"]) == (3, "permission_denied")
    ran = luahost(*command, *grants, "--grant", f"fs.write:roots={here / 'out'}", cwd=here)
    files = sorted(str(path.relative_to(TOP)) for path in (TOP / "luahost" / "gate").glob("*.py"))
    assert ran.code == 0, ran
    told = json.loads(ran.out)
    assert (told["files"], told["failed"], told["left_out"]) == (len(files), 0, 0)
    report = (here / "out" / "review.md").read_text()
    assert [line[3:] for line in report.splitlines() if line.startswith("## ")] == files
    asked = [each.body["messages"][-1]["content"] for each in echo.requests[-len(files) :]]
    assert any("Paths as the gate judges them" in each for each in asked), "the model was shown the file"


PAGES = {
    "/news": "<html><head><style>p{}</style><script>evil()</script></head><p>Lua &amp; friends</p>met today.</html>",
    "/away": None,  # a redirect to where the grant does not reach
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PAGES.get(self.path)
        self.send_response(200 if body else 302)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body or "")))
        if not body:
            self.send_header("location", "http://127.0.0.2:9/secret")
        self.end_headers()
        self.wfile.write((body or "").encode())

    def log_message(self, *args: object) -> None:
        pass


def test_read_web_reads_the_hosts_of_its_grant_and_no_others(here: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{web.server_port}"
        urls = [f"http://{host}/news", f"http://{host}/away", "http://127.0.0.2:9/secret", "http://localhost:1/"]
        question = "\n".join(f"call fetch {json.dumps({'url': url})}" for url in urls)
        command = ["run", str(EXAMPLES / "read_web.lua"), "--json", "--config", "echo.toml"]
        command += ["--input", json.dumps(question), "--grant", "llm"]
        ran = luahost(*command, "--grant", f"http:hosts={host};methods=GET", cwd=here)
        refused = luahost(*command, cwd=here)
        web.shutdown()
    assert ran.code == 0, ran
    told = json.loads(ran.out)
    assert "Lua & friends\nmet today." in told["answer"] and "evil" not in told["answer"]
    seen = {
        each["url"].rpartition("/")[2] + str(each.get("status", "")): each.get("error_kind")
        for each in told["read"]
    }
    assert seen == {"news200": None, "away302": None, "secret": "host_not_allowed", "": "host_not_allowed"}
    assert {each["error_kind"] for each in json.loads(refused.out)["read"]} == {"permission_denied"}


def test_mcp_agent_uses_a_server_that_luahost_serves(here: Path, echo: EchoModel) -> None:
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    command = [sys.executable, "-m", "luahost", "mcp", str(EXAMPLES / "mcp_library.lua")]
    config_for(echo, here / "mcp.toml")
    with (here / "mcp.toml").open("a") as file:
        file.write(f"[mcp.books]\ncommand = {json.dumps(command)}\nenv = ['PYTHONPATH']\n")
    words = ["run", str(EXAMPLES / "mcp_agent.lua"), "--json", "--config", "mcp.toml", "--grant", "llm"]
    ran = luahost(*words, "--grant", "mcp:servers=books;tools=find", cwd=here)
    assert ran.code == 0, ran
    told = json.loads(ran.out)
    assert told["tools"] == ["mcp__books__find"] and told["turns"] == 2 and "Ada Moor" in told["answer"]
    refused = luahost(*words, cwd=here)
    assert (refused.code, json.loads(refused.out)["error_kind"]) == (3, "permission_denied")


def test_embed_grants_runs_and_revokes(here: Path) -> None:
    ran = python(EXAMPLES / "embed.py", cwd=here)
    assert ran.code == 0 and ran.err == ""
    assert [line.split(":", 1)[-1].strip() for line in ran.out.splitlines()[:4]] == [
        "refused: permission_denied",
        "You said: Is anybody there?",
        "refused: budget_exceeded",
        "refused: permission_denied",
    ]


def test_demo_shows_both_commands_their_output_and_their_exit_codes(here: Path) -> None:
    ran = python(EXAMPLES / "demo.py", "--delay", "0", cwd=here)
    assert ran.code == 0, ran
    commands = [line for line in ran.out.splitlines() if line.startswith("$ luahost run examples/summarize.lua")]
    assert [command.endswith("--grant llm") for command in commands] == [True, False]
    assert "It begins: “# luahost" in ran.out
    assert "[exit code 0]" in ran.out and "[exit code 3]" in ran.out
    assert "permission" in ran.err or "llm denied" in ran.err


def test_every_example_is_tested_here() -> None:
    named = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.iterdir() if path.is_file() and path.name not in named] == []
