"""orcs.llm_sessions and vm.sessions: listed, read, forked, trimmed, compacted, forgotten; never half."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import trio
from servers import FaultServer, status
from trio_tests import echo_config, in_trio

from luahost import ConfigError, Grant, Host, Provider, Source
from luahost.testing import EchoModel

TALK = (
    "local function talk(id, n, more) for i = 1, n do local o = {session_id = id}\n"
    "for k, v in pairs(more or {}) do o[k] = v end assert(orcs.llm('p' .. i, o).ok) end end\n"
    "local S = orcs.llm_sessions\n"
)


async def run(echo: EchoModel, text: str) -> tuple[Any, Any, Any]:
    """The script's answer, the sessions it left behind as a dump and as a list."""
    async with Host(echo_config(echo)) as host:
        vm = await host.load(Source(f"{TALK} return function() {text} end"), grants=[Grant.llm()])
        answer = await vm.run()
        return answer, json.loads(vm.sessions.dump()), vm.sessions.list()


@in_trio
async def test_a_script_lists_reads_and_deletes_its_sessions() -> None:
    with EchoModel() as echo:
        (listed, got, gone, again), dump, _ = await run(
            echo,
            "talk('a', 2, {system_prompt = 'Be brief.'}) talk('b', 1)\n"
            "local list, got = S.list(), S.get('a') got.messages[1].content = 'forged'\n"
            "return {list, S.get('a'), S.delete('a'), S.get('a')}",
        )
    assert listed["ok"]
    one, two = listed["sessions"]
    assert (one["id"], one["messages"], one["turns"], one["system"], one["busy"]) == ("a", 4, 2, True, False)
    assert (two["id"], two["messages"], two["turns"], two["system"]) == ("b", 2, 1, False)
    assert one["usage"]["total"] > one["tokens"] > 0, "all exchanges against the last one"
    assert one["updated_s"] >= one["created_s"] > 1e9
    assert one["bytes"] == sum(len(json.dumps(m, separators=(",", ":"))) for m in got["messages"])
    assert got["system_prompt"] == "Be brief."
    assert got["messages"][0] == {"role": "user", "content": "p1"}
    assert len(got["prefix_sha256"]) == 64
    assert gone == {"ok": True}
    assert again["error_kind"] == "not_found"
    assert list(dump) == ["b"]


@in_trio
async def test_a_fork_goes_its_own_way_and_a_rewind_is_a_fork_at_a_turn() -> None:
    with EchoModel() as echo:
        answer, dump, _ = await run(
            echo,
            "talk('a', 3) local f = S.fork('a', {new_id = 'f'}) local r = S.fork('a', {at_turn = 1, new_id = 'r'})\n"
            "local back = S.fork('a', {at_turn = -1}) orcs.llm('else', {session_id = 'f'})\n"
            "return {f, r, back, S.fork('a', {new_id = 'f'}), S.fork('a', {at_turn = 4}), S.fork('none'),\n"
            " S.fork('a', {at_trun = 1}), S.fork('a', {at_turn = 'x'}), S.fork('a', {new_id = 'x\\ny'})}",
        )
    fork, rewound, back, taken, far, none, misspelt, typed, control = answer
    assert (fork, rewound) == ({"ok": True, "id": "f"}, {"ok": True, "id": "r"})
    assert len(dump["a"]) == 6
    assert dump["f"][:6] == dump["a"]
    assert len(dump["f"]) == 8
    assert dump["r"] == dump["a"][:2]
    assert dump[back["id"]] == dump["a"][:4]
    fields = [each["detail"].get("field") for each in (taken, far, misspelt, typed, control)]
    assert fields == ["new_id", "at_turn", "at_trun", "at_turn", "new_id"]
    assert "did you mean 'at_turn'" in misspelt["error"]
    assert none["error_kind"] == "not_found"


@in_trio
async def test_trim_keeps_the_system_prompt_and_whole_turns() -> None:
    with EchoModel() as echo:
        (trimmed, same, none, empty), dump, _ = await run(
            echo,
            "talk('a', 4, {system_prompt = 'S'}) local t = S.trim('a', {max_messages = 5})\n"
            "local same = S.trim('a', {max_messages = 5}) local none = S.trim('a')\n"
            "talk('b', 1, {system_prompt = 'T'}) return {t, same, none, S.trim('b', {max_tokens = 0})}",
        )
    assert (trimmed["ok"], trimmed["removed"], trimmed["messages"]) == (True, 4, 4)
    assert [message["content"] for message in dump["a"]] == ["S", "p3", "You said: p3", "p4", "You said: p4"]
    assert same["removed"] == 0
    assert none["detail"]["field"] == "max_messages"
    assert (empty["messages"], dump["b"]) == (0, [{"role": "system", "content": "T"}])


@in_trio
async def test_trim_that_cannot_keep_the_last_exchange_changes_nothing() -> None:
    with EchoModel() as echo:
        (no, before, after), _, _ = await run(
            echo,
            "talk('a', 2) local d = orcs.llm_dump_sessions()\n"
            "return {S.trim('a', {max_tokens = 3}), d, orcs.llm_dump_sessions()}",
        )
    assert (no["error_kind"], no["detail"]["field"]) == ("invalid_options", "max_tokens")
    assert before == after


# ── compaction ──────────────────────────────────────────────────────────────────────────────────────────


def summarise(messages: list[dict[str, Any]]) -> str:
    """Summaries for transcripts, echoes for the rest."""
    last = messages[-1]["content"]
    return f"SUMMARY of {last.count('User: ')} prompts" if "User: " in last else f"You said: {last}"


@in_trio
async def test_compact_puts_a_summary_in_place_of_the_older_turns() -> None:
    with EchoModel(reply=summarise) as echo:
        (done, went_on), _, listed = await run(
            echo,
            "talk('a', 5, {system_prompt = 'Be brief.'})\n"
            "local done = S.compact('a', {keep_turns = 2, instructions = 'In French.'})\n"
            "return {done, orcs.llm('and?', {session_id = 'a'})}",
        )
        asked = echo.requests[5].body["messages"]
        sent = echo.requests[6].body["messages"]
    assert done["ok"] and done["compacted"]
    assert done["summary"] == "SUMMARY of 3 prompts"
    assert (done["removed"], done["messages"], done["turns"]) == (6, 6, 3)
    assert done["summary_usage"]["total"] > 0
    assert [message["role"] for message in asked] == ["system", "user"]
    assert asked[0]["content"].endswith("\nIn French.")
    assert "User: p3\n\nAssistant: You said: p3" in asked[1]["content"] and "p4" not in asked[1]["content"]
    assert [message["content"] for message in sent] == [
        "Be brief.",
        "Summarise our conversation so far.",
        "SUMMARY of 3 prompts",
        "p4",
        "You said: p4",
        "p5",
        "You said: p5",
        "and?",
    ]
    assert went_on["ok"]
    assert [each.id for each in listed] == ["a"], "the model was asked in a session that is not kept"


@in_trio
async def test_a_compaction_that_fails_leaves_the_session_as_it_was() -> None:
    turns = [{"role": role, "content": f"{role} {i}"} for i in range(4) for role in ("user", "assistant")]
    wrong = (
        ("'a', {keep_turns = 1.5}", "invalid_options", "keep_turns"),
        ("'a', {session_id = 'b'}", "invalid_options", "session_id"),
        ("'a', {temprature = 1}", "invalid_options", "temprature"),
        ("'a', {instructions = 1}", "invalid_options", "instructions"),
        ("'none'", "not_found", None),
        ("'a', {max_tokens = 1}", "invalid_response", None),  # a summary that was cut off is none
    )

    with EchoModel(reply=summarise) as echo, FaultServer(status(500)) as broken:
        config = echo_config(echo)
        failing = Provider(name="failing", base_url=f"http://127.0.0.1:{broken.port}", model="m")
        config = msgspec.structs.replace(config, providers={**config.providers, "failing": failing})
        async with Host(config) as host:
            calls = ", ".join(f"S.compact({each})" for each, _, _ in wrong)
            calls += ", S.compact('a', {provider = 'failing', max_retries = 0})"
            vm = await host.load(Source(f"{TALK} return function() return {{{calls}}} end"), grants=[Grant.llm()])
            vm.sessions.load(json.dumps({"a": turns}))
            before = vm.sessions.dump(full=True)
            *answers, failed = await vm.run()
            assert vm.sessions.dump(full=True) == before
    assert failed["error_kind"] == "server_error"
    for answer, (call, kind, field) in zip(answers, wrong, strict=True):
        assert (answer["ok"], answer["error_kind"], answer["detail"].get("field")) == (False, kind, field), call


@in_trio
async def test_compaction_needs_the_grant_and_counts_against_its_budget() -> None:
    with EchoModel(reply=summarise) as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(f"{TALK} return function() return S.compact('a', {{keep_turns = 0}}) end"))
            vm.sessions.load(
                json.dumps({"a": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "q"}]})
            )
            before = vm.sessions.dump()
            assert (await vm.run())["error_kind"] == "permission_denied"
            assert vm.sessions.dump() == before
            vm.grant(Grant.llm(max_calls=1))
            done = await vm.run()
            assert (done["ok"], done["turns"]) == (True, 1)
            assert (await vm.run())["error_kind"] == "budget_exceeded"
        assert echo.calls == 1


@in_trio
async def test_a_session_that_is_changed_while_it_is_summarised_stays_as_it_is() -> None:
    with EchoModel(reply=summarise, delay_s=0.01) as echo:
        (done, trimmed), dump, _ = await run(
            echo,
            "talk('a', 4) local trimmed local done = S.compact('a', {keep_turns = 1,\n"
            "on_delta = function() trimmed = trimmed or S.trim('a', {max_messages = 2}) end}) return {done, trimmed}",
        )
    assert trimmed["ok"]
    assert done["error_kind"] == "conflict"
    assert [message["content"] for message in dump["a"]] == ["p4", "You said: p4"]


# ── one turn at a time ──────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_a_busy_session_refuses_every_change_at_once_and_others_do_not_wait() -> None:
    with EchoModel(delay_s=0.02) as echo:
        (outer, inner), dump, _ = await run(
            echo,
            "talk('s', 1) talk('other', 1) local inner\n"
            "local outer = orcs.llm('a b c', {session_id = 's', on_delta = function() if inner then return end inner = {\n"
            "S.delete('s'), S.trim('s', {max_messages = 0}), S.compact('s', {keep_turns = 0}), orcs.llm('x', {session_id = 's'}),\n"
            "orcs.llm_load_sessions('{}'), S.list(), S.get('s'), S.fork('s', {new_id = 'f'}), S.trim('other', {max_messages = 0}),\n"
            "orcs.llm('y', {session_id = 'third'})} end}) return {outer, inner}",
        )
    assert outer["ok"]
    assert [each["error_kind"] for each in inner[:5]] == ["session_busy"] * 5
    assert all(each["retryable"] for each in inner[:5])
    assert [each["ok"] for each in inner[5:]] == [True] * 5
    assert [session["busy"] for session in inner[5]["sessions"]] == [True, False]
    assert len(inner[6]["messages"]) == len(dump["f"]) == 2
    assert len(dump["s"]) == 4


@pytest.mark.alone
@in_trio
async def test_of_two_strands_on_one_session_one_is_refused_and_ten_sessions_run_at_once() -> None:
    with EchoModel(delay_s=0.05) as echo:
        began = trio.current_time()
        (pair, ten), dump, _ = await run(
            echo,
            "local function ask(id) return function() return orcs.llm('hi', {session_id = id, stream = true}) end end\n"
            "local pair = orcs.all({ask('s'), ask('s')}) local fs = {} for i = 1, 10 do fs[i] = ask('t' .. i) end\n"
            "return {pair, orcs.all(fs)}",
        )
        took = trio.current_time() - began
    assert sorted(each["ok"] for each in pair) == [False, True]
    assert {each.get("error_kind") for each in pair} == {None, "session_busy"}
    assert all(each["ok"] for each in ten)
    assert len(dump["s"]) == 2
    assert took < 3.0


# ── usage, dumps, Python ────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_a_full_dump_keeps_usage_and_times_and_comes_back_the_same() -> None:
    with EchoModel() as echo:
        (full, bare, some, loaded, again, listed), _, _ = await run(
            echo,
            "talk('a', 2, {system_prompt = 'S'}) talk('b', 1) local full = S.dump({full = true})\n"
            "local bare, some = S.dump(), S.dump({full = true, ids = {'b'}}) S.load('{}')\n"
            "local loaded = S.load(full) return {full, bare, some, loaded, S.dump({full = true}), S.list()}",
        )
    assert loaded == {"ok": True, "count": 2}
    assert full == again
    parsed = json.loads(full)
    assert (parsed["version"], list(parsed["sessions"])) == (1, ["a", "b"])
    assert parsed["sessions"]["a"]["usage"]["total"] == listed["sessions"][0]["usage"]["total"] > 0
    assert parsed["sessions"]["a"]["system"] == "S"
    assert json.loads(bare)["a"][0] == {"role": "system", "content": "S"}
    assert list(json.loads(some)["sessions"]) == ["b"]


@in_trio
async def test_python_has_the_same_verbs() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(f"{TALK} return function() talk('a', 3) end"), grants=[Grant.llm()])
            await vm.run()
            sessions = vm.sessions
            assert [each.turns for each in sessions.list()] == [3]
            assert sessions.get("a")["messages"][0] == {"role": "user", "content": "p1"}
            assert sessions.fork("a", "b", at_turn=1) == "b"
            assert sessions.trim("a", max_messages=2).messages == 2
            assert len(sessions.dump(["b"])) < len(sessions.dump(full=True))
            sessions.delete("b")
            assert len(sessions) == 1
            for act in (lambda: sessions.get("b"), lambda: sessions.delete("b"), lambda: sessions.dump(["b"])):
                with pytest.raises(ConfigError) as caught:
                    act()
                assert caught.value.kind == "not_found"
            for wrong in ({}, {"max_messages": -1}, {"max_tokens": True}):
                with pytest.raises(ConfigError, match=r"max_(messages|tokens): "):
                    sessions.trim("a", **wrong)


@in_trio
async def test_what_a_provider_wants_back_survives_dump_and_load_and_is_not_shown() -> None:
    state = {"wire": "anthropic", "signature": "SECRET"}
    dump = json.dumps(
        {
            "a": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "text": "hm", "state": state}, {"type": "text", "text": "ok"}],
                },
            ]
        }
    )
    async with Host() as host:
        vm = await host.load(Source(f"{TALK} return function(d) S.load(d) return {{S.get('a'), S.dump()}} end"))
        got, again = await vm.run(dump)
    assert "SECRET" not in json.dumps(got)
    assert got["messages"][1]["content"] == [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "ok"}]
    assert json.loads(again) == json.loads(dump)


@in_trio
async def test_the_table_of_verbs_cannot_be_changed_by_a_script() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function() local ok = pcall(function() orcs.llm_sessions.get = print end)\n"
                "local positional = {pcall(orcs.llm_sessions.get)} return {ok, positional, orcs.llm_sessions.list()} end"
            )
        )
        ok, positional, listed = await vm.run()
    assert ok is False
    assert positional[0] is False and "bad argument #1 to 'get' (string expected, got no value)" in positional[1]
    assert listed == {"ok": True, "sessions": []}
