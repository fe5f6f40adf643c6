"""Tools: the model's calls run in the VM, under the VM's own grants, and the session is sound however it ends."""

from __future__ import annotations

import json
from typing import Any

from servers import FaultServer, sequence, status
from test_llm import config_for
from trio_tests import echo_config, in_trio

import luahost.transport.attempts  # noqa: F401 - so that no test waits for it
from luahost import Grant, Host, Source
from luahost.testing import EchoModel

ADD = (
    "{name = 'add', description = 'adds', parameters = {type = 'object', required = {'a', 'b'}, properties = {a = {type = 'integer'},"
    " b = {type = 'integer'}}, additionalProperties = false}, run = function(args) ran = (ran or 0) + 1 return args.a + args.b end}"
)


def told_by(text: str) -> Source:
    return Source(f"return function() local tools = {{{ADD}}} {text} end")


async def run(echo: EchoModel, text: str, **grant: Any) -> tuple[Any, list[dict[str, Any]]]:
    async with Host(echo_config(echo)) as host:
        vm = await host.load(told_by(text), grants=[Grant.llm(**grant)])
        answer = await vm.run()
        stored = list(json.loads(vm.sessions.dump()).values())
    return answer, stored[0] if stored else []


def turn(*calls: tuple[str, str], text: str = "") -> bytes:
    """A whole answer that says `text` and calls these tools: (name, arguments)."""
    asked = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text} | ({"tool_calls": asked} if asked else {})
    finish = "tool_calls" if asked else "stop"
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


async def told(bodies: list[bytes], script: str, **grant: Any) -> tuple[Any, list[Any], list[dict[str, Any]]]:
    """What the script returns when the model answers so; what the model was sent; the first session."""
    with FaultServer(
        sequence([status(200, body, {"content-type": "application/json"}) for body in bodies])
    ) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(Source(f"return function() {script} end"), grants=[Grant.llm(**grant)])
            answer = await vm.run()
            stored = list(json.loads(vm.sessions.dump()).values())
        return answer, [json.loads(request.body) for request in server.requests], stored[0] if stored else []


def sound(stored: list[dict[str, Any]]) -> bool:
    """Every call has its result in the next turn, and every result its call."""
    waiting: set[str] = set()
    for message in stored:
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results != waiting:
            return False
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return not waiting


@in_trio
async def test_the_calls_of_a_model_are_run_and_their_results_go_back() -> None:
    with EchoModel() as echo:
        answer, stored = await run(
            echo,
            'local r = orcs.llm(\'call add {"a": 2, "b": 3}\\ncall add {"a": 10, "b": 20}\', {tools = tools, resolve = true})\n'
            "r.ran = ran return r",
        )
        assert echo.calls == 2
        assert [tool["function"]["name"] for tool in echo.requests[0].body["tools"]] == ["add"]
    assert answer["ok"], answer
    assert answer["content"] == "Tool said: 5 30"
    assert (answer["turns"], answer["ran"], answer["attempts"]) == (2, 2, 2)
    assert answer["usage"]["total"] > 10
    assert [message["role"] for message in stored] == ["user", "assistant", "user", "assistant"]
    assert sound(stored)


@in_trio
async def test_what_goes_wrong_in_a_tool_is_told_to_the_model() -> None:
    cases = {
        'call add {"a": 2}': "arguments.b: is required",
        'call add {"a": 2, "b": "x"}': "arguments.b: integer expected, got string",
        'call add {"a": 1, "b": 2, "c": 3}': "arguments.c: no such name",
        "call sub {}": "there is no tool of this name",
    }
    for prompt, words in cases.items():
        with EchoModel() as echo:
            text = f"return orcs.llm({json.dumps(prompt)}, {{tools = tools, resolve = true}})"
            answer, stored = await run(echo, text)
        assert words in answer["content"], prompt
        assert stored[2]["content"][0]["is_error"] is True
        assert sound(stored)
    with EchoModel() as echo:
        answer, _ = await run(
            echo,
            "tools[1].run = function() error('no numbers today', 0) end\n"
            'return orcs.llm(\'call add {"a": 2, "b": 3}\', {tools = tools, resolve = true})',
        )
    assert "no numbers today" in answer["content"]


@in_trio
async def test_a_tool_can_do_no_more_than_its_script() -> None:
    with EchoModel() as echo:
        answer, stored = await run(
            echo,
            "tools[1].run = function() return orcs.llm('inner', {session_id = 'inner'}) end\n"
            "return orcs.llm('call add {\"a\": 2, \"b\": 3}', {tools = tools, resolve = true, session_id = 'outer'})",
            max_calls=2,
        )
    # The tool's own call took the second of the two; the third is refused, and the session is sound.
    assert answer["ok"] is False
    assert answer["error_kind"] == "budget_exceeded"
    assert sound(stored)


@in_trio
async def test_a_model_that_calls_for_ever_ends_at_the_limit_with_nothing_unanswered() -> None:
    def again(messages: list[dict[str, Any]]) -> str:
        return "unused"

    del again
    calls = b'{"choices":[{"message":{"role":"assistant","content":"hm ","tool_calls":[{"id":"c%d","type":"function","function":{"name":"add","arguments":"{\\"a\\":1,\\"b\\":1}"}}]},"finish_reason":"tool_calls"}]}'
    answers = [status(200, calls % number, {"content-type": "application/json"}) for number in range(5)]
    with FaultServer(sequence(answers)) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                told_by("return orcs.llm('go', {tools = tools, resolve = true, max_tool_turns = 3})"),
                grants=[Grant.llm()],
            )
            answer = await vm.run()
            stored = next(iter(json.loads(vm.sessions.dump()).values()))
        asked = [json.loads(request.body) for request in server.requests]
    assert answer["error_kind"] == "tool_loop_limit"
    assert (answer["turns"], answer["content"], len(answer["intents"])) == (3, "hm hm hm ", 1)
    assert answer["session_id"]
    assert sound(stored)
    assert asked[1]["messages"][-1]["content"].endswith("[2 more tool turns]")
    assert asked[2]["messages"][-1]["content"].endswith("[1 more tool turn]")


@in_trio
async def test_a_failure_after_a_round_keeps_the_round_and_its_results() -> None:
    calls = b'{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\\"a\\":1,\\"b\\":1}"}}]},"finish_reason":"tool_calls"}]}'
    json_type = {"content-type": "application/json"}
    with FaultServer(sequence([status(200, calls, json_type), status(400, b"{}", json_type)])) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                told_by("return orcs.llm('go', {tools = tools, resolve = true})"), grants=[Grant.llm()]
            )
            answer = await vm.run()
            stored = next(iter(json.loads(vm.sessions.dump()).values()))
    assert answer["error_kind"] == "invalid_request"
    assert [message["role"] for message in stored] == ["user", "assistant", "user"]
    assert stored[2]["content"][0]["content"].startswith("2")
    assert sound(stored)


@in_trio
async def test_an_answer_cut_off_by_its_length_is_continued_and_joined() -> None:
    parts = [
        b'{"choices":[{"message":{"content":"one, two, "},"finish_reason":"length"}]}',
        b'{"choices":[{"message":{"content":"three."},"finish_reason":"stop"}]}',
    ]
    with FaultServer(
        sequence([status(200, part, {"content-type": "application/json"}) for part in parts])
    ) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                told_by("return orcs.llm('count', {tools = tools, resolve = true})"), grants=[Grant.llm()]
            )
            answer = await vm.run()
    assert (answer["content"], answer["stop_reason"], answer["turns"]) == ("one, two, three.", "end_turn", 2)


@in_trio
async def test_wrong_options_of_the_loop_are_named() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function(o) return orcs.llm('x', o) end"), grants=[Grant.llm()])
        for opts, field in [
            ({"resolve": "yes"}, "resolve"),
            ({"max_tool_turns": 0}, "max_tool_turns"),
            ({"max_tool_turns": 101}, "max_tool_turns"),
            ({"on_delta": 5}, "on_delta"),
            ({"tools": 5}, "tools"),
        ]:
            answer = await vm.run(opts)
            assert (answer["error_kind"], answer["detail"]["field"]) == ("invalid_options", field), answer


PAIR = """
local log, tools = {}, {}
for _, name in ipairs{'read', 'look', 'write'} do
  tools[#tools + 1] = {name = name, parallel = name ~= 'write', parameters = {type = 'object'}, run = function(args)
    log[#log + 1] = '+' .. name
    orcs.sleep(args.s or 0)
    log[#log + 1] = '-' .. name
    if args.fail then error('no ' .. name, 0) end
    return name .. ' done'
  end}
end
"""


@in_trio
async def test_calls_to_parallel_tools_run_together_and_the_others_one_after_another() -> None:
    calls = turn(("write", '{"s": 0.02}'), ("read", '{"s": 0.06}'), ("look", '{"s": 0.03}'), ("write", "{}"))
    answer, asked, _ = await told(
        [calls, turn(text="fine")],
        PAIR
        + "local r = orcs.llm('go', {tools = tools, resolve = true}) return {r.content, table.concat(log, ' ')}",
    )
    assert answer == ["fine", "+read +look -look -read +write -write +write -write"]
    assert [message["content"] for message in asked[1]["messages"][2:]] == [
        "write done",
        "read done",
        "look done",
        "write done",
    ]
    assert [message["tool_call_id"] for message in asked[1]["messages"][2:]] == ["c0", "c1", "c2", "c3"]
    assert "parallel" not in json.dumps(asked[0]["tools"])


@in_trio
async def test_an_error_of_one_parallel_tool_ends_none_of_the_others() -> None:
    calls = turn(("read", '{"s": 0.03}'), ("look", '{"fail": true}'))
    answer, asked, stored = await told(
        [calls, turn(text="fine")], PAIR + "return orcs.llm('go', {tools = tools, resolve = true})"
    )
    assert answer["content"] == "fine"
    assert [message["content"] for message in asked[1]["messages"][2:]] == ["read done", "no look"]
    assert [block.get("is_error", False) for block in stored[2]["content"]] == [False, True]


@in_trio
async def test_a_call_whose_arguments_cannot_be_read_is_not_run_and_the_model_is_told() -> None:
    for bad in ('{"s": 0', '["s"]', "null", '{"s": NaN}', "{} {}"):
        answer, asked, stored = await told(
            [turn(("read", bad), ("look", "{}"), text="hm "), turn(text="again")],
            PAIR
            + "local r = orcs.llm('go', {tools = tools, resolve = true}) return {r.content, table.concat(log, ' ')}",
        )
        assert answer == ["hm again", "+look -look"], bad
        first, second = asked[1]["messages"][2:]
        assert first["content"] == f"not run: the arguments are not one JSON object: {bad}"
        assert second["content"] == "look done"
        assert [block.get("is_error", False) for block in stored[2]["content"]] == [True, False]
        assert sound(stored)


@in_trio
async def test_without_resolve_such_a_call_is_a_failed_result_and_nothing_is_stored() -> None:
    answer, _, stored = await told([turn(("read", '{"s": 0'))], PAIR + "return orcs.llm('go', {tools = tools})")
    assert (answer["ok"], answer["error_kind"], stored) == (False, "malformed_tool_call", [])


@in_trio
async def test_empty_arguments_are_no_arguments() -> None:
    answer, asked, _ = await told(
        [turn(("read", ""), ("look", "  ")), turn(text="fine")],
        PAIR + "return orcs.llm('go', {tools = tools, resolve = true}).ok",
    )
    assert answer is True
    assert [message["content"] for message in asked[1]["messages"][2:]] == ["read done", "look done"]


@in_trio
async def test_a_turn_that_calls_a_tool_without_run_comes_back_whole_and_is_answered_by_the_script() -> None:
    answer, asked, stored = await told(
        [turn(("read", "{}"), ("ask_human", '{"q": 1}'), text="hm"), turn(text="thanks")],
        PAIR
        + """
        tools[#tools + 1] = {name = 'ask_human', parameters = {type = 'object'}}
        local r = orcs.llm('go', {tools = tools, resolve = true})
        local results = {}
        for i, intent in ipairs(r.intents) do results[i] = {id = intent.id, content = intent.name .. '!'} end
        local last = orcs.llm(nil, {session_id = r.session_id, tools = tools, tool_results = results})
        return {r.ok, r.stop_reason, r.content, #r.intents, #log, last.content}
        """,
    )
    assert answer == [True, "tool_use", "hm", 2, 0, "thanks"]
    assert [message["content"] for message in asked[1]["messages"][2:]] == ["read!", "ask_human!"]
    assert sound(stored)


@in_trio
async def test_results_may_be_given_by_the_id_of_their_call() -> None:
    answer, asked, stored = await told(
        [turn(("read", "{}"), ("look", "{}")), turn(text="thanks")],
        PAIR
        + """
        local r, results = orcs.llm('go', {tools = tools}), {}
        for _, intent in ipairs(r.intents) do results[intent.id] = {name = intent.name} end
        return orcs.llm(nil, {session_id = r.session_id, tool_results = results}).content
        """,
    )
    assert answer == "thanks"
    assert [message["content"] for message in asked[1]["messages"][2:]] == ['{"name":"read"}', '{"name":"look"}']
    assert sound(stored)


@in_trio
async def test_a_budget_used_up_in_the_middle_returns_what_was_said_and_leaves_the_session_sound() -> None:
    answer, _, stored = await told(
        [turn(("read", "{}"), text="first, ")],
        PAIR + "return orcs.llm('go', {tools = tools, resolve = true})",
        max_calls=1,
    )
    assert (answer["ok"], answer["error_kind"], answer["content"], answer["turns"]) == (
        False,
        "budget_exceeded",
        "first, ",
        2,
    )
    assert sound(stored) and len(stored) == 3


@in_trio
async def test_a_result_whose_text_cannot_be_made_is_an_error_for_the_model() -> None:
    answer, asked, _ = await told(
        [turn(("read", "{}")), turn(text="fine")],
        PAIR
        + """
        tools[1].run = function() return setmetatable({print}, {__tostring = function() error('no text', 0) end}) end
        return orcs.llm('go', {tools = tools, resolve = true}).content
        """,
    )
    assert answer == "fine"
    assert asked[1]["messages"][2]["content"] == "no text"


@in_trio
async def test_results_too_large_for_the_border_end_the_loop_and_not_the_vm() -> None:
    answer, _, stored = await told(
        [turn(("read", "{}"))],
        PAIR
        + "tools[1].run = function() return ('x'):rep(9000000) end return orcs.llm('go', {tools = tools, resolve = true})",
    )
    assert (answer["ok"], answer["error_kind"]) == (False, "invalid_options")
    assert "too large" in stored[2]["content"][0]["content"] and sound(stored)


@in_trio
async def test_a_loop_that_is_ended_while_its_tools_run_leaves_a_session_that_goes_on() -> None:
    answer, asked, _ = await told(
        [turn(("read", '{"s": 30}')), turn(text="and on")],
        PAIR
        + """
        local _, first = orcs.race{
          function() orcs.llm('go', {tools = tools, resolve = true, session_id = 's'}) end,
          function() while not log[1] do orcs.sleep(0.005) end end,
        }
        return {first, table.concat(log), orcs.llm('again', {session_id = 's'}).content}
        """,
    )
    assert answer == [2, "+read", "and on"]
    assert [message["role"] for message in asked[1]["messages"]] == ["user", "assistant", "tool", "user"]
