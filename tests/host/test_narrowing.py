"""What a child holds: nothing that was not given, nothing wider than its parent's, and nothing once that is gone."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio_tests import echo_config, in_trio

from luahost import Grant, Host, Source
from luahost.testing import EchoModel

ASK = "return { run = function(o) local a = orcs.llm('Hello', o) return a.ok and 'ok' or a.error_kind end }"
"""A child that asks the model with the options it is sent."""


async def told(body: str, *grants: Grant, audit: list[dict[str, Any]] | None = None) -> Any:
    """What a manager's run returns; `ask` is the text of ASK, and the model is EchoModel."""
    with EchoModel() as echo:
        async with Host(echo_config(echo), audit=(audit if audit is not None else []).append) as host:
            source = Source(f"local ask = [[{ASK}]]\nreturn function()\n{body}\nend", "m")
            return await (
                await host.load(
                    source,
                    grants=[Grant.spawn(), *grants] if not any(g.kind == "spawn" for g in grants) else grants,
                )
            ).run()


@in_trio
async def test_caps_say_what_a_child_holds_and_absent_is_nothing() -> None:
    kinds = await told(
        "local text = 'return function() local k = orcs.array {} for kind in pairs(orcs.caps()) do k[#k + 1] = kind end table.sort(k) return k end'\n"
        "local held = {}\n"
        "for i, caps in ipairs { false, 'none', 'inherit', {}, { llm = true }, { llm = false, spawn = true }, { llm = { max_calls = 1 }, spawn = { max_children = 1 } } } do\n"
        "  held[i] = orcs.spawn_child { id = 'c' .. i, script = text, caps = caps or nil }:run().result end return held",
        Grant.llm(),
    )
    assert kinds == [[], [], ["llm", "spawn"], [], ["llm"], ["spawn"], ["llm", "spawn"]]


@in_trio
async def test_the_grant_of_spawn_may_give_the_upstreams_default_and_say_what_is_handed_on() -> None:
    body = (
        "local function spawn(caps) return orcs.spawn_child { id = 'c', script = ask, caps = caps } end\n"
        "local seen = {} for i, caps in ipairs { 'absent', 'inherit', { llm = true } } do\n"
        "  local c = spawn(caps ~= 'absent' and caps or nil) seen[i] = c.ok and c:run().result or c.error_kind .. ' by ' .. c.detail.rule end return seen"
    )
    assert await told(body, Grant.llm(), Grant.spawn(default="inherit")) == ["ok", "ok", "ok"]
    assert await told(body, Grant.llm(), Grant.spawn(may_delegate=["spawn"])) == [
        "permission_denied",
        "permission_denied",
        "permission_denied by may_delegate",
    ]


@in_trio
async def test_each_widening_is_refused_by_name_audited_and_nothing_is_spawned() -> None:
    audit: list[dict[str, Any]] = []
    held = Grant.llm(
        models=["gpt-4*"],
        providers=["echo"],
        hosts=["127.0.0.1"],
        max_calls=5,
        max_tokens=10**6,
        max_concurrency=2,
        expires_in_s=60,
    )
    answers = await told(
        "local seen = {}\n"
        "for i, caps in ipairs {\n"
        "  { llm = { models = { 'gpt-4o', 'llama' } } }, { llm = { models = { '*' } } }, { llm = { providers = { 'openai' } } },\n"
        "  { llm = { hosts = { 'evil.test' } } }, { llm = { max_calls = 6 } }, { llm = { max_tokens = 1000001 } },\n"
        "  { llm = { max_concurrency = 3 } }, { llm = { expires_in_s = 61 } }, { spawn = { max_depth = 9 } }, { spawn = { max_children = 65 } },\n"
        "  { ['fs.read'] = true }, { ['fs.write'] = { roots = { '/' } } },\n"
        "} do local c = orcs.spawn_child { id = 'c', script = ask, caps = caps } seen[i] = c.error_kind .. ' ' .. c.detail.rule end\n"
        "seen[#seen + 1] = orcs.child_count() return seen",
        held,
        audit=audit,
    )
    rules = [
        f"llm.{name}"
        for name in (
            "models",
            "models",
            "providers",
            "hosts",
            "max_calls",
            "max_tokens",
            "max_concurrency",
            "expires_in_s",
        )
    ]
    rules += ["spawn.max_depth", "spawn.max_children", "fs.read", "fs.write"]
    assert answers == [*(f"capability_widening caps.{rule}" for rule in rules), 0]
    assert [(each["decision"], each["rule"], each["error_kind"]) for each in audit] == [
        ("deny", f"caps.{rule}", "capability_widening") for rule in rules
    ]


@in_trio
async def test_wrong_caps_are_invalid_options_that_name_the_field() -> None:
    fields = await told(
        "local seen = {}\n"
        "for i, caps in ipairs { 'all', { lm = true }, { llm = { max_call = 1 } }, { llm = { max_calls = 'many' } }, { llm = 1 }, { llm = { max_calls = -1 } } } do\n"
        "  local c = orcs.spawn_child { id = 'c', script = ask, caps = caps } seen[i] = c.error_kind .. ' ' .. c.detail.field end return seen",
        Grant.llm(),
    )
    assert fields == [
        f"invalid_options {f}"
        for f in ("caps", "caps.lm", "caps.llm.max_call", "caps.llm.max_calls", "caps[...]", "caps.llm.max_calls")
    ]


@in_trio
async def test_an_empty_list_allows_nothing_and_a_grandchild_is_narrowed_twice() -> None:
    body = (
        "local none = orcs.spawn_child { id = 'n', script = ask, caps = { llm = { models = {} } } }:run({ model = 'gpt-4o' }).result\n"
        "local middle = [[local ask = ... return { run = function(models)\n"
        "  local wide = orcs.spawn_child { id = 'w', script = ask, caps = { llm = { models = { 'gpt-4*' } } } }\n"
        "  local c = orcs.spawn_child { id = 'g', script = ask, caps = { llm = { models = { 'gpt-4o' }, max_calls = 2 } } }\n"
        "  local seen = { wide.error_kind } for _, m in ipairs(models) do seen[#seen + 1] = c:send({ model = m }).result end return seen end }]]\n"
        "local m = orcs.spawn_child { id = 'm', script = middle, input = ask, caps = { spawn = true, llm = { models = { 'gpt-4o*' } } } }\n"
        "return { none, m:run({ 'gpt-4o', 'gpt-4o-mini', 'gpt-4', 'gpt-4o', 'gpt-4o' }).result, orcs.caps().llm.used.calls }"
    )
    none, below, calls = await told(body, Grant.llm(models=["gpt-4*"]))
    assert none == "model_not_allowed"
    assert below == ["capability_widening", "ok", "model_not_allowed", "model_not_allowed", "ok", "budget_exceeded"]
    assert calls == 2  # spending is counted all the way up


@in_trio
async def test_of_two_children_that_race_for_the_last_call_exactly_one_wins() -> None:
    results = await told(
        "for _, id in ipairs { 'a', 'b' } do orcs.spawn_child { id = id, script = ask, caps = 'inherit' } end\n"
        "local kinds = {} for i, r in ipairs(orcs.send_to_children_batch({ 'a', 'b' }, { {}, {} })) do kinds[i] = r.result end table.sort(kinds) return kinds",
        Grant.llm(max_calls=1),
    )
    assert results == ["budget_exceeded", "ok"]


@in_trio
async def test_what_the_parent_loses_its_children_lose_for_good() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            script = (
                f"local ask = [[{ASK}]] local c\n"
                "return function(what) if not c then c = orcs.spawn_child { id = 'c', script = ask, caps = 'inherit' } end\n"
                "if what == 'own' then local a = orcs.llm('x') return a.ok or a.error_kind end return c:send().result end"
            )
            vm = await host.load(Source(script), grants=[Grant.spawn()])

            async def both(grant: Grant) -> list[Any]:
                return [await vm.run("own"), await vm.run("child")]

            first = Grant.llm()
            vm.grant(first)
            assert await both(first) == [True, "ok"]
            vm.revoke("llm")
            assert await both(first) == ["permission_denied", "capability_revoked"]
            vm.grant(first)
            assert await both(first) == [True, "capability_revoked"]  # given again is not given on again
            child = vm.children["c"]
            child.grant(vm.delegate("llm"))
            assert await both(first) == [True, "ok"]
            vm.grant(Grant.llm(models=["other"]))  # replaced: the child could do what its parent cannot
            assert await vm.run("child") == "capability_revoked"
            second = Grant.llm()
            vm.grant(second)
            child.grant(vm.delegate("llm"))
            assert await both(second) == [True, "ok"]
            second.revoke("no more")
            assert await both(second) == ["capability_revoked"] * 2


@in_trio
async def test_a_parent_takes_a_kind_from_a_child_and_all_below_it_but_keeps_its_own() -> None:
    body = (
        "local middle = [[local ask = ... local g = orcs.spawn_child { id = 'g', script = ask, caps = 'inherit' }\n"
        "return { run = function() local a = orcs.llm('x') return { a.ok or a.error_kind, g:send().result } end }]]\n"
        "local m = orcs.spawn_child { id = 'm', script = middle, input = ask, caps = 'inherit' }\n"
        "local before = m:send().result\n"
        "local revoked, wrong = m:revoke('llm').ok, m:revoke('lm').detail.field\n"
        "return { before, revoked, wrong, m:send().result, orcs.llm('x').ok, m:usage().grants.llm.revoked }"
    )
    assert await told(body, Grant.llm()) == [
        [True, "ok"],
        True,
        "kind",
        ["permission_denied", "capability_revoked"],
        True,
        True,
    ]


@in_trio
async def test_a_parents_expiry_is_its_childrens() -> None:
    kinds = await told(
        "local c = orcs.spawn_child { id = 'c', script = ask, caps = { llm = { expires_in_s = 0.3 } } }\n"
        "local first = c:send().result orcs.sleep(0.35) return { first, c:send().result, orcs.llm('x').error_kind }",
        Grant.llm(expires_in_s=0.3),
    )
    assert kinds == ["ok", "capability_expired", "capability_expired"]


@in_trio
async def test_no_script_can_grant_itself_approve_or_reach_another() -> None:
    child = (
        "return { run = function() local bad = {}\n"
        "for _, name in ipairs { 'grant', 'grant_command', 'approve', 'delegate' } do if orcs[name] then bad[#bad + 1] = name end end\n"
        "local h = orcs.child('c')\n"
        "for _, name in ipairs { 'grant', 'approve' } do if h[name] then bad[#bad + 1] = name end end\n"
        "h.id = 'sibling' if h:send(1).ok or h:revoke('llm').ok then bad[#bad + 1] = 'sibling' end\n"
        "if pcall(setmetatable, h, {}) then bad[#bad + 1] = 'metatable' end\n"
        "if orcs.spawn_child { id = 'x', script = 'return 1', elevated = true }.ok then bad[#bad + 1] = 'elevated' end\n"
        "return orcs.array(bad) end }"
    )
    body = f"orcs.spawn_child {{ id = 'sibling', script = ask, caps = 'inherit' }} return orcs.spawn_child {{ id = 'c', script = [[{child}]], caps = {{ spawn = true }} }}:run()"
    assert await told(body, Grant.llm()) == {"ok": True, "result": []}


@in_trio
async def test_children_keep_their_sessions_to_themselves() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            body = f"return function() orcs.llm('MINE', {{ session_id = 's' }}) local c = orcs.spawn_child {{ id = 'c', script = [[{ASK}]], caps = 'inherit' }} c:send({{ session_id = 's' }}) return orcs.llm_dump_sessions() end"
            vm = await host.load(Source(body), grants=[Grant.llm(), Grant.spawn()])
            own = await vm.run()
            assert "MINE" in own and "Hello" not in own
            assert "Hello" in vm.children["c"].sessions.dump() and "MINE" not in vm.children["c"].sessions.dump()


@in_trio
async def test_a_child_is_told_that_its_parent_gives_and_not_the_operator() -> None:
    text = await told(
        "local c = orcs.spawn_child { id = 'c', script = 'return function() return orcs.llm(\"x\").error end' } return c:run().result"
    )
    assert "its parent's spawn_child{caps=" in text and "--grant" not in text


@pytest.mark.alone
@in_trio
async def test_a_hundred_vms_that_each_wait_a_second_wait_together() -> None:
    async with Host() as host:
        text = "local wait = 'return { run = function() orcs.sleep(1) return 1 end }' local ids, inputs = {}, {}\nfor i = 1, 100 do ids[i], inputs[i] = 'c' .. i, i orcs.spawn_child { id = ids[i], script = wait } end\nreturn function() local n = 0 for _, r in ipairs(orcs.send_to_children_batch(ids, inputs)) do n = n + r.result end return n end"
        vm = await host.load(Source(text), grants=[Grant.spawn(max_children=100)])
        began = trio.current_time()
        assert await vm.run() == 100
        assert trio.current_time() - began < 2


@pytest.mark.parametrize("text", ["spawn:max_children=3;default=inherit;may_delegate=llm,fs.*", "spawn"])
def test_spawn_has_grant_text(text: str) -> None:
    assert str(Grant.parse(str(Grant.parse(text)))) == str(Grant.parse(text))
