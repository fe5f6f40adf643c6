"""Intents: what a script registers is a tool for the model, answered by a component below, under the grants as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trio_tests import echo_config, in_trio

from luahost import Grant, Host, Source
from luahost.testing import EchoModel

COMPONENT = """return { id = "shelf", on_request = function(req)
  if req.payload.name == "gone" then return { success = false, error = "no such book" } end
  return { success = true, data = { op = req.operation, title = "The " .. tostring(req.payload.name) } }
end }"""
REGISTER = f"""
  orcs.spawn_child {{ id = "shelf", script = [[{COMPONENT}]] }}
  local told = orcs.register_intent {{
    name = "look_up", description = "Finds a book", component = "shelf", operation = "find",
    params = {{ name = {{ type = "string", description = "its name", required = true }} }},
  }}
  assert(told.ok)
"""


@in_trio
async def test_a_registered_intent_is_a_tool_that_a_component_answers() -> None:
    script = f"""return function(q) {REGISTER}
      local answer = orcs.llm(q, {{ resolve = true, hil_intents = true }})
      return {{ answer.content, answer.turns }}
    end"""
    with EchoModel() as model:
        async with Host(echo_config(model)) as host:
            vm = await host.load(Source(script), grants=[Grant("spawn"), Grant("llm")])
            said, turns = await vm.run('call look_up {"name": "Tide"}\ncall look_up {"name": "gone"}')
    assert turns == 2 and '"title":"The Tide"' in said and '"op":"find"' in said and "no such book" in said
    sent = [each["function"] for each in model.requests[0].body["tools"]]
    assert [each["name"] for each in sent] == ["look_up"], "and none of orcs' own: nobody asked for them"
    assert sent[0]["parameters"]["required"] == ["name"]


@in_trio
async def test_dispatch_is_judged_like_the_call_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    script = f"""return function()
      {REGISTER}
      return {{
        orcs.dispatch("read", {{ path = "a" }}), orcs.dispatch("write", {{ path = "a", content = "y" }}).error_kind,
        orcs.dispatch("read", {{}}).detail.field, orcs.dispatch("read", {{ path = 7 }}).detail.field,
        orcs.dispatch("nothing").error_kind, orcs.dispatch("look_up", {{ name = "Sea" }}).title,
        orcs.dispatch("look_up", {{}}).detail.field, orcs.suspended_info("x") == nil,
      }}
    end"""
    async with Host() as host:
        vm = await host.load(Source(script), grants=[Grant("spawn"), Grant("fs.read", roots=[str(tmp_path)])])
        got: list[Any] = await vm.run()
    assert got[0] == {"ok": True, "content": "x", "size": 1}
    assert got[1:] == ["permission_denied", "path", "path", "not_found", "The Sea", "name", True]


@in_trio
async def test_all_intents_are_those_that_a_grant_is_held_for(tmp_path: Path) -> None:
    script = """return function() return orcs.llm("hi", { tools = true, resolve = true }).ok end"""
    with EchoModel() as model:
        async with Host(echo_config(model)) as host:
            held = [Grant("llm"), Grant("fs.read", roots=[str(tmp_path)])]
            assert await (await host.load(Source(script), grants=held)).run()
            assert await (await host.load(Source(script), grants=held[:1])).run()
    first, second = (each.body.get("tools", []) for each in model.requests)
    assert {each["function"]["name"] for each in first} == {"read", "grep", "glob"} and second == []


@in_trio
async def test_intents_are_told_in_three_ways_and_wrong_ones_are_refused() -> None:
    script = f"""return function() {REGISTER}
      local function field(spec) return orcs.register_intent(spec).detail.field end
      return {{ orcs.intent_defs(), orcs.tool_schemas(), orcs.tool_descriptions(), {{
        field {{ name = "read", component = "c" }}, field {{ name = "", component = "c" }}, field {{ name = "x" }},
        field {{ name = "x", component = "c", run = print }}, field {{ name = "x", component = "c", params = {{ a = 1 }} }},
        field {{ name = "x", component = "c", params = {{ a = {{ type = "tuple" }} }} }},
      }} }}
    end"""
    async with Host() as host:
        defs, schemas, text, fields = await (await host.load(Source(script), grants=[Grant("spawn")])).run()
    names = ["read", "write", "grep", "glob", "mkdir", "remove", "mv", "exec", "look_up"]
    assert [each["name"] for each in defs] == [each["name"] for each in schemas] == names
    assert schemas[-1]["args"] == [{"name": "name", "type": "string", "required": True, "description": "its name"}]
    assert "look_up(name): Finds a book" in text.splitlines() and json.dumps(defs[-1]["parameters"])
    assert fields == ["name", "name", "component", "run", "params.a", "params.a.type"]
