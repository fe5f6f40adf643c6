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
        field {{ name = "x", component = "c", run = print }}, field {{ name = "x", component = "c", colour = 1 }}, field {{ name = "x", component = "c", params = {{ a = 1 }} }},
        field {{ name = "x", component = "c", params = {{ a = {{ type = "tuple" }} }} }},
      }} }}
    end"""
    async with Host() as host:
        defs, schemas, text, fields = await (await host.load(Source(script), grants=[Grant("spawn")])).run()
    names = ["read", "write", "grep", "glob", "mkdir", "remove", "mv", "exec", "http", "look_up"]
    assert [each["name"] for each in defs] == [each["name"] for each in schemas] == names
    assert schemas[-1]["args"] == [{"name": "name", "type": "string", "required": True, "description": "its name"}]
    assert "look_up(name): Finds a book" in text.splitlines() and json.dumps(defs[-1]["parameters"])
    assert fields == ["name", "name", "component", "component", "colour", "params.a", "params.a.type"]


async def result(text: str, *grants: Grant, model: EchoModel | None = None) -> Any:
    async with Host(echo_config(model) if model else None) as host:
        return await (await host.load(Source(f"return function() {text} end"), grants=grants)).run()


DOUBLE = """
  assert(orcs.register_intent { name = "double", params = { n = { type = "integer", required = true } },
    run = function(a) return a.n * 2 end }.ok)
"""


@in_trio
async def test_a_function_answers_an_intent_and_names_make_a_list_of_tools(tmp_path: Path) -> None:
    with EchoModel() as model:
        said = await result(
            DOUBLE
            + """
            local more = { name = "more", run = function() return "more" end }
            local asked = "call double {\\"n\\": 21}\\ncall double {\\"n\\": \\"x\\"}\\ncall more {}"
            local r = orcs.llm(asked, { tools = { "double", "read", more }, resolve = true })
            local function failed(names) local no = orcs.llm("x", { tools = names }) return { no.error_kind, no.detail.field } end
            return { r.content, failed { "double", "twice" }, failed { "exec" } }
            """,
            Grant("llm"),
            Grant("fs.read", roots=[str(tmp_path)]),
            model=model,
        )
        assert len(model.requests) == 2, "an unknown name is told before anything is sent"
        tools = [each["function"]["name"] for each in model.requests[0].body["tools"]]
    assert sorted(tools) == ["double", "more", "read"]
    assert "42" in said[0] and "arguments.n: integer expected" in said[0] and "more" in said[0]
    assert said[1:] == [["invalid_options", "tools[2]"], ["permission_denied", "tools[1]"]]


@in_trio
async def test_a_name_is_replaced_by_its_owner_and_taken_away() -> None:
    told = await result(
        DOUBLE
        + """
        local before = orcs.dispatch("double", { n = 4 })
        assert(orcs.register_intent { name = "double", run = function() return "other" end }.ok)
        local after = orcs.dispatch("double")
        local gone, again = orcs.unregister_intent("double"), orcs.unregister_intent("double")
        return { before, after, #orcs.intent_defs(), gone.ok, again.error_kind, orcs.unregister_intent("read").error_kind }
        """
    )
    assert told == [8, "other", 9, True, "not_found", "invalid_options"]


@in_trio
async def test_there_are_limits_on_how_many_and_how_large() -> None:
    told = await result(
        """
        local function f() end
        local function field(more) more.name, more.run = "x", f return orcs.register_intent(more).detail.field end
        local loop = {} loop.loop = loop
        local wrong = { field { description = ("x"):rep(9000) }, field { parameters = { enum = { ("x"):rep(70000) } } },
          field { parameters = loop }, field { parameters = {}, params = {} } }
        for i = 1, 1000 do assert(orcs.register_intent { name = "n" .. i, run = f }.ok) end
        return { wrong, field {}, orcs.register_intent { name = "n7", run = f }.ok }
        """
    )
    assert told == [["description", "parameters", "parameters", "parameters"], "name", True]


@in_trio
async def test_a_backend_of_the_scripts_own_goes_through_the_same_loop() -> None:
    told = await result(
        DOUBLE
        + """
        local seen = {}
        local function backend(turn)
          seen[#seen + 1] = turn
          if turn.turn_number == 0 then return { content = "a", tool_calls = {
            { id = "1", name = "double", arguments = { n = 3 } }, { id = "2", name = "double", arguments = "{\\"n\\": 5}" },
            { id = "3", name = "double", arguments = {} }, { id = "4", name = "exec", arguments = { cmd = "id" } } } } end
          return { content = "b" }
        end
        local function endless() return { content = "", tool_calls = { { id = "1", name = "double", arguments = { n = 1 } } } } end
        return {
          orcs.resolve_loop(backend, { prompt = "p" }), seen, orcs.resolve_loop(endless, { prompt = "p", max_turns = 3 }),
          orcs.resolve_loop(endless, { prompt = "p", max_turns = 1000 }).num_turns,
          orcs.resolve_loop(function() error("broke", 0) end, { prompt = "p" }), orcs.resolve_loop(backend, {}).detail.field,
          orcs.resolve_loop(function() return 7 end, { prompt = "p" }).error_kind,
        }
        """
    )
    assert told[0] == {"ok": True, "content": "b", "num_turns": 2}
    first, second = told[1]
    assert (
        first["prompt"] == "p"
        and [each["name"] for each in first["tools"]] == ["double"]
        and "prompt" not in second
    )
    assert [(each["id"], each["is_error"]) for each in second["tool_results"]] == [
        ("1", False),
        ("2", False),
        ("3", True),
        ("4", True),
    ]
    assert [each["content"] for each in second["tool_results"][:3]] == ["6", "10", "arguments.n: is required"]
    assert (told[2]["error_kind"], told[2]["num_turns"], told[3]) == ("tool_loop_limit", 3, 100)
    assert (told[4]["error"], told[5], told[6]) == ("broke", "prompt", "backend_failed")
