"""The machine, driven by hand: messages in, wants out, no process. What a script sees, how calls leave it, how it ends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luahost.values import Limits
from luahost.vm import protocol
from luahost.vm.machine import Machine, open_spec
from luahost.vm.protocol import Ack, Call, Done, Drop, Failed, More, Stats

MIB = 1 << 20


class Vm:
    """A machine and what it said, decoded."""

    def __init__(self, **limits: Any) -> None:
        self.output: list[tuple[str, str]] = []
        self.machine = Machine(
            lambda kind, text: self.output.append((kind.decode(), text.decode("utf-8", "replace")))
        )
        self.machine.open(open_spec(Limits(**{"cpu_s": 2.0, **limits})))
        self.stats = Stats(0, 0, 0, 0)
        self.tasks = 0

    def _read(self, wants: list[protocol.Want]) -> Any:
        *rest, self.stats = wants
        assert isinstance(self.stats, Stats)
        return rest[0] if len(rest) == 1 else rest

    def start(self, entry: str, arg: Any = None) -> Any:
        self.tasks += 1
        return self._read(self.machine.start(entry, arg, task=self.tasks))

    def load(self, text: str, input: Any = None) -> Any:
        return self.start(
            "load", {"source": text.encode("utf-8", "surrogateescape"), "name": "script", "input": input}
        )

    def reply(self, call: int, value: Any) -> Any:
        return self._read(self.machine.feed(call, value))

    def events(self, call: int, *texts: str) -> Any:
        return self._read(self.machine.feed_events(call, list(texts)))

    def cancel(self, task: int) -> Any:
        return self._read(protocol.decode_wants(self.machine.step(protocol.cancel(task, 0.0))))

    def run(self, body: str) -> Any:
        """What `body`, as a function, returns; an answer to each host call is its own number."""
        want = self.load(f"return function() {body} end")
        assert isinstance(want, Done), want
        return self.finish(self.start("run"))

    def finish(self, want: Any) -> Any:
        n = 0
        while isinstance(want, Call):
            n += 1
            want = self.reply(want.id, n)
        assert isinstance(want, Done), want
        return protocol.decode(want.value)

    def fail(self, text: str) -> Failed:
        want = self.load(text)
        assert isinstance(want, Failed), want
        return want


# ── what a script sees ──────────────────────────────────────────────────────────────────────────────────


GONE = [
    "io",
    "debug",
    "package",
    "dofile",
    "loadfile",
    "python",
    "warn",
    "loadstring",
    "lupa",
    "os.execute",
    "os.getenv",
]
GONE += [
    "os.exit",
    "os.remove",
    "os.rename",
    "os.tmpname",
    "os.setlocale",
    "string.dump",
    "collectgarbage('stop') > 0",
]


@pytest.mark.parametrize("name", GONE)
def test_what_touches_the_machine_is_gone_already_at_the_top_level(name: str) -> None:
    if "(" in name:
        name = f"{name} or nil"
    assert Vm().run(f"return ({name}) == nil or ({name}) == false") is True
    want = Vm().load(f"if ({name}) then error('reachable') end")
    assert isinstance(want, Done)


def test_load_takes_no_bytecode_whatever_its_mode() -> None:
    body = (
        r"local r = {} for _, m in ipairs{'b', 't', 'bt'} do r[#r + 1] = load('\27Lua', 'x', m) == nil end return r"
    )
    assert Vm().run(body) == [True, True, True]


LIBRARIES = ["string", "table", "math", "os", "coroutine", "utf8", "orcs"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "write",
    [
        "L.x = 1",
        "rawset(L, 'x', 1)",
        "setmetatable(L, {})",
        "table.insert(L, 1)",
        "getmetatable(L).__index.x = 1",
        "load('x = 1', 'c', 't', L)()",
    ],
)
def test_a_library_table_cannot_be_written(library: str, write: str) -> None:
    vm = Vm()
    assert (
        vm.run(f"local L = {library} return pcall(function() {write} end), L.x == nil, rawget(L, 'x') == nil")
        is False
    )
    assert vm.run(f"return {library}.x == nil and {library}[1] == nil") is True


def test_another_chunk_of_the_vm_sees_the_original_libraries() -> None:
    vm = Vm()
    vm.run("string = { upper = 1 } tostring = nil")
    assert vm.run("return ('x'):upper()") == "X"
    assert vm.run("return getmetatable('') == nil and pcall(setmetatable, 'x', {}) == false") is True


def test_tostring_shows_no_address_and_obeys_tostring_behind_a_metatable_field() -> None:
    vm = Vm()
    assert (
        vm.run("return tostring(setmetatable({}, {__metatable = 'x', __tostring = function() return 'me' end}))")
        == "me"
    )
    assert vm.run("return tostring(orcs.null)") == "null"
    for value in ("{}", "print", "coroutine.create(print)", "string"):
        assert int(vm.run(f"return tostring({value}):match('0x(%x+)')"), 16) < 10_000


def test_private_tables_are_never_shown_to_a_metamethod() -> None:
    assert (
        Vm().run(
            """
            local seen = {}
            local mt = {__eq = function(a, b) seen[#seen + 1] = b return true end}
            local bait = setmetatable({}, mt)
            coroutine.wrap(function() coroutine.yield(bait, 1, 'llm', '\\xc0') end)()
            getmetatable(setmetatable({}, bait))
            orcs.json_encode{bait} orcs.llm('x', {a = bait}) pcall(rawset, bait, 1, 1)
            return #seen
            """
        )
        == 0
    )


def test_load_gives_a_text_when_the_nesting_is_too_deep() -> None:
    assert Vm().run("local f, e = load(('('):rep(300)) return type(e)") == "string"
    assert (
        Vm().run("return select(2, xpcall(function() local f, e = load(('('):rep(300)) return type(e) end, print))")
        == "string"
    )


def test_print_takes_any_number_of_arguments_in_linear_time() -> None:
    vm = Vm(cpu_s=1.0, output_bytes=MIB)
    assert vm.run("print(table.unpack({}, 1, 200000)) return 1") == 1
    assert vm.output[0][1].count("nil") == 200_000


# ── calls to the host ───────────────────────────────────────────────────────────────────────────────────

PLACES = {
    "plain": "return orcs.now()",
    "wrap": "return coroutine.wrap(function() return orcs.now() end)()",
    "resume": "return select(2, coroutine.resume(coroutine.create(function() return orcs.now() end)))",
    "nested": "local w = coroutine.wrap return w(function() return w(function() return w(orcs.now)() end)() end)()",
    "pcall": "return select(2, pcall(orcs.now))",
    "xpcall": "return select(2, xpcall(orcs.now, print))",
    "iterator": "for v in function(_, last) if not last then return orcs.now() end end do return v end",
    "iterator of wrap": "for v in coroutine.wrap(function() coroutine.yield(orcs.now()) end) do return v end",
    "__index": "return setmetatable({}, {__index = function() return orcs.now() end}).x",
    "__newindex": "local r local t = setmetatable({}, {__newindex = function() r = orcs.now() end}) t.x = 1 return r",
    "__add": "return setmetatable({}, {__add = function() return orcs.now() end}) + 1",
    "__concat": "return setmetatable({}, {__concat = function() return orcs.now() end}) .. 'x'",
    "__eq": "local r local m = {__eq = function() r = orcs.now() return true end} local _ = setmetatable({}, m) == setmetatable({}, m) return r",
    "__lt": "local r local m = {__lt = function() r = orcs.now() return true end} local _ = setmetatable({}, m) < setmetatable({}, m) return r",
    "__len": "return #setmetatable({}, {__len = function() return orcs.now() end})",
    "__call": "return setmetatable({}, {__call = function() return orcs.now() end})()",
    "__pairs": "for k in pairs(setmetatable({}, {__pairs = function() local v = orcs.now() return next, {[v] = 1} end})) do return k end",
    "__close": "local r do local x <close> = setmetatable({}, {__close = function() r = orcs.now() end}) end return r",
    "gsub": "return tonumber((('x'):gsub('x', function() return orcs.now() end)))",
    "gsub __index": "return tonumber((('x'):gsub('x', setmetatable({}, {__index = function() return orcs.now() end}))))",
    "gmatch loop": "for w in ('x y'):gmatch('%a') do return orcs.now() end",
    "sort": "local r table.sort({2, 1}, function(a, b) r = r or orcs.now() return a < b end) return r",
    "concat": "return tonumber(table.concat(setmetatable({}, {__index = function() return orcs.now() end, __len = function() return 1 end})))",
    "load": "return load('return orcs.now()')()",
    "load reader": "local v return load(function() if not v then v = orcs.now() return 'return ' .. v end end)()",
}


@pytest.mark.parametrize("place", PLACES)
def test_the_host_can_be_called_inside(place: str) -> None:
    vm = Vm()
    vm.load(f"return function() {PLACES[place]} end")
    want = vm.start("run")
    assert isinstance(want, Call), want
    assert want.op == b"clock.now"
    assert vm.finish(vm.reply(want.id, 77)) == 77


def test_the_host_can_be_called_at_a_module_s_top_level() -> None:
    vm = Vm()
    vm.load("return function() return require('a').v end")
    want = vm.start("run")
    assert (want.op, protocol.decode(want.args)) == (b"module", {"name": "a"})
    want = vm.reply(want.id, {"ok": True, "source": b"return {v = orcs.now()}", "name": "a.lua"})
    assert want.op == b"clock.now"
    assert vm.finish(vm.reply(want.id, 5)) == 5


@pytest.mark.parametrize(
    "place",
    [
        "tostring(setmetatable({}, {__tostring = function() return orcs.now() end}))",
        "print(setmetatable({}, {__tostring = function() return orcs.now() end}))",
        "xpcall(error, function() local ok, e = pcall(orcs.now) error(e, 0) end)",
        "local c = coroutine.create(function() local x <close> = setmetatable({}, {__close = orcs.now}) coroutine.yield() end) "
        "coroutine.resume(c) error(select(2, coroutine.close(c)), 0)",
    ],
)
def test_where_the_host_cannot_be_called_the_error_names_the_restriction(place: str) -> None:
    body = f"local ok, e = pcall(function() {place} end) return tostring(e)"
    said = Vm().run(body)
    if "xpcall" not in place:
        assert "cannot be called here" in said and "__tostring" in said


def test_the_script_s_yields_and_the_host_s_never_mix() -> None:
    vm = Vm()
    vm.load(
        """
        local function generate() for i = 1, 3 do coroutine.yield(i, orcs.now(), orcs.now()) end return 'end' end
        return function()
          local out, gen = {}, coroutine.wrap(generate)
          for i = 1, 3 do out[i] = {gen()} end
          out[4] = gen()
          return out
        end
        """
    )
    assert vm.finish(vm.start("run")) == [[1, 1, 2], [2, 3, 4], [3, 5, 6], "end"]


def test_a_coroutine_that_waits_for_the_host_is_normal_to_others_and_cannot_be_resumed_or_closed() -> None:
    vm = Vm()
    vm.load(
        """
        local co
        return {
          run = function() co = coroutine.create(function() return orcs.now() end) return select(2, coroutine.resume(co)) end,
          on_request = function()
            return {coroutine.status(co), (coroutine.resume(co)), (pcall(coroutine.close, co)), coroutine.isyieldable(co)}
          end,
        }
        """
    )
    want = vm.start("run")
    other = vm.start("request", {"id": "r", "operation": "x", "category": "UserInput"})
    assert protocol.decode(other.value)[:3] == ["normal", False, False]
    assert vm.finish(vm.reply(want.id, 9)) == 9


def test_a_task_s_coroutine_cannot_be_resumed_closed_or_yielded_from_by_the_script() -> None:
    vm = Vm()
    vm.load(
        """
        local main
        return {
          run = function() main = coroutine.running() orcs.now() return {pcall(coroutine.yield, 1)} end,
          on_request = function() return {(coroutine.resume(main)), (pcall(coroutine.close, main)), coroutine.status(main)} end,
        }
        """
    )
    want = vm.start("run")
    other = vm.start("request", {})
    assert protocol.decode(other.value) == [False, False, "normal"]
    ok, why = vm.finish(vm.reply(want.id, 1))
    assert ok is False and "outside a coroutine" in why


def test_several_calls_are_open_at_once_and_each_answer_reaches_its_own() -> None:
    vm = Vm()
    vm.load("return {on_request = function(r) return {r.id, orcs.now(), orcs.now()} end}")
    first = {i: vm.start("request", {"id": i}) for i in range(20)}
    second = {i: vm.reply(first[i].id, i * 10) for i in reversed(range(20))}
    assert len({want.id for want in [*first.values(), *second.values()]}) == 40
    for i in range(20):
        done = vm.reply(second[i].id, i * 10 + 1)
        assert protocol.decode(done.value) == [i, i * 10, i * 10 + 1]


def test_an_answer_to_a_call_nobody_made_is_ignored() -> None:
    vm = Vm()
    vm.load("return function() return orcs.now() end")
    want = vm.start("run")
    assert vm.reply(want.id + 5, 1) == []
    assert vm.finish(vm.reply(want.id, 2)) == 2
    assert vm.reply(want.id, 3) == []


def test_cancel_closes_the_task_s_variables_and_forgets_its_call() -> None:
    vm = Vm()
    vm.load(
        """
        closed = {}
        local function guard(name) return setmetatable({}, {__close = function() closed[#closed + 1] = name .. tostring((pcall(orcs.now))) end}) end
        return {
          run = function() local a <close> = guard('a') local b <close> = guard('b') orcs.now() closed = 'went on' end,
          on_request = function() return closed end,
        }
        """
    )
    want = vm.start("run")
    assert vm.cancel(want.task) == Drop(want.id)
    assert vm.reply(want.id, 1) == []
    assert protocol.decode(vm.start("request", {}).value) == ["bfalse", "afalse"]


def test_a_close_that_never_ends_is_killed_soon_after_a_cancel() -> None:
    vm = Vm()
    vm.load(
        "return function() local x <close> = setmetatable({}, {__close = function() while true do end end}) orcs.now() end"
    )
    want = vm.start("run")
    vm.start("handler", {"name": "none"})
    killed = vm.cancel(want.task)[-1]
    assert vm.stats.cpu_us < 500_000
    assert (killed.task, killed.kind) == (0, b"cpu")  # no task is left that could tell the host
    assert vm.start("run").kind == b"cpu"


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────


def stream(on_delta: str) -> tuple[Vm, Call]:
    vm = Vm()
    vm.load(
        f"got = {{}} return function() local r = orcs.llm('x', {{on_delta = {on_delta}}}) return {{got, r}} end"
    )
    want = vm.start("run")
    assert isinstance(want, Call) and want.op == b"llm"
    assert protocol.decode(want.args)["streamed"] is True
    return vm, want


def test_each_batch_of_a_stream_is_acknowledged_and_the_answer_comes_last() -> None:
    vm, call = stream("function(t) got[#got + 1] = t end")
    assert vm.events(call.id, "a", "b") == Ack(call.id, True)
    assert vm.events(call.id, "c") == Ack(call.id, True)
    assert vm.finish(vm.reply(call.id, {"ok": True})) == [["a", "b", "c"], {"ok": True}]


def test_a_callback_that_returns_false_ends_the_stream() -> None:
    vm, call = stream("function(t) got[#got + 1] = t return false end")
    assert vm.events(call.id, "a", "b") == Ack(call.id, False)
    assert vm.finish(vm.reply(call.id, {"ok": True})) == [["a"], {"ok": True}]


def test_a_callback_that_raises_ends_the_stream_and_its_error_comes_after_the_answer() -> None:
    vm, call = stream("function(t) error('no ' .. t, 0) end")
    assert vm.events(call.id, "a") == Ack(call.id, False)
    failed = vm.reply(call.id, {"ok": True})
    assert isinstance(failed, Failed) and failed.message == b"no a"


def test_a_callback_may_call_the_host_and_then_end_the_stream() -> None:
    vm, call = stream("function(t) got[#got + 1] = orcs.now() return false end")
    inner = vm.events(call.id, "a")
    assert isinstance(inner, Call) and inner.op == b"clock.now" and inner.id != call.id
    assert vm.reply(inner.id, 5) == Ack(call.id, False)
    assert vm.finish(vm.reply(call.id, {"ok": True})) == [[5], {"ok": True}]


def test_a_callback_may_not_yield_to_the_script() -> None:
    vm, call = stream("function(t) got[1] = select(2, pcall(coroutine.yield, t)) end")
    assert vm.events(call.id, "a") == Ack(call.id, True)
    assert "outside a coroutine" in vm.finish(vm.reply(call.id, 1))[0][0]


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────────────

LOOPS = {
    "loop": "while true do end",
    "pcall": "while true do pcall(function() while true do end end) end",
    "nested pcall": "local function f(n) while true do pcall(n > 0 and f or function() while true do end end, n - 1) end end f(180)",
    "coroutine": "coroutine.wrap(function() while true do end end)()",
    "resume swallows": "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "short coroutines": "while true do coroutine.wrap(function() for i = 1, 100 do end end)() end",
    "xpcall handler": "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "close in wrap": "coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end end)()",
    "close": "local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end",
    "close by hand": "local c = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) "
    "coroutine.yield() end) coroutine.resume(c) while true do pcall(coroutine.close, c) end",
    "for": "for i in function() return 1 end, nil, nil, setmetatable({}, {__close = function() while true do end end}) do end",
    "sort": "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
    "gsub": "while true do pcall(string.gsub, 'a', 'a', function() while true do end end) end",
    "load reader": "while true do pcall(load, function() while true do end end) end",
    "metamethods": "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do pcall(function() return t[1] end) end",
    "tostring": "while true do pcall(tostring, setmetatable({}, {__tostring = function() while true do end end})) end",
    "encode": "local t = {} for i = 1, 50000 do t[i] = i end while true do pcall(orcs.json_encode, t) end",
    "parse": "local s = '[' .. ('1,'):rep(50000) .. '1]' while true do pcall(orcs.json_parse, s) end",
    "load": "local s = 'return a ' .. ('or a '):rep(4000) while true do pcall(load, s) end",
    "pattern": "while true do pcall(string.find, ('a'):rep(5000), '.-.-.-b') end",
}


@pytest.mark.parametrize("name", LOOPS)
def test_the_cpu_limit_cannot_be_caught(name: str) -> None:
    vm = Vm(cpu_s=0.05)
    failed = vm.fail(LOOPS[name])
    assert failed.kind == b"cpu" and b"0.05 s" in failed.message
    assert vm.stats.cpu_us < 2 * 50_000 + 50_000
    assert vm.start("run").kind == b"cpu"  # the dead VM answers, and runs nothing
    assert vm.stats.cpu_us < 5_000


MEMORY = {
    "table": "local t = {} for i = 1, 1e9 do t[i] = {} end",
    "string": "local s = 'x' while true do s = s .. s end",
    "caught": "local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = {} end end) end",
    "coroutines": "local t = {} while true do t[#t + 1] = coroutine.create(print) end",
    "in a coroutine": "local t = {} while true do coroutine.resume(coroutine.create(function() for i = 1, 1e9 do t[#t + 1] = {} end end)) end",
    "handler": "local t = {} local function f() for i = 1, 1e9 do t[#t + 1] = {} end end while true do xpcall(f, f) end",
    "one piece": "local s = ('x'):rep(1 << 22) return s .. s .. s .. s .. s",
}


@pytest.mark.parametrize("name", MEMORY)
def test_the_memory_limit_cannot_be_caught(name: str) -> None:
    vm = Vm(memory_bytes=8 * MIB)
    failed = vm.fail(MEMORY[name])
    assert failed.kind == b"memory" and b"8 MiB" in failed.message
    assert vm.stats.memory_bytes <= 8 * MIB + 32 * 1024  # the limit is of what is beside a bare runtime's 20 KB


def test_an_activation_has_its_own_cpu_and_the_calls_of_one_share_it() -> None:
    vm = Vm(cpu_s=0.2)
    vm.load(
        "local function burn() local t = os.clock() while os.clock() - t < 0.12 do end end return function(twice) burn() if twice then orcs.now() burn() end return 1 end"
    )
    for _ in range(3):
        assert protocol.decode(vm.start("run").value) == 1
    want = vm.start("run", True)
    assert vm.reply(want.id, 1).kind == b"cpu"


def test_output_over_the_limit_is_dropped_and_counted_and_the_script_goes_on() -> None:
    vm = Vm(output_bytes=1000)
    assert vm.run("for i = 1, 100 do print(('x'):rep(99)) end return 1") == 1
    assert sum(len(text) for _, text in vm.output) == 1000
    assert (vm.stats.output_bytes, vm.stats.dropped_bytes) == (1000, 9000)
    vm.output.clear()
    assert vm.finish(vm.start("run")) == 1
    assert sum(len(text) for _, text in vm.output) == 1000


@pytest.mark.parametrize("say", ["orcs.log('info', '')", "print()", "orcs.log('info', 'x')"])
def test_empty_output_cannot_flood_the_host(say: str) -> None:
    vm = Vm(output_bytes=500)
    vm.run(f"for i = 1, 20000 do {say} end return 1")
    assert len(vm.output) <= 500


ERRORS = {
    "error('boom')": "script:1: boom",
    "error('boom', 0)": "boom",
    "error()": "the script raised a nil value: nil",
    "error(nil)": "the script raised a nil value: nil",
    "error(true)": "the script raised a boolean value: true",
    "error(42)": "the script raised a number value: 42",
    "error({})": "the script raised a table that has no text",
    "error({error = 'in a table'})": "in a table",
    "error({message = 'in a table'})": "in a table",
    "error(setmetatable({}, {__tostring = function() return 'me' end}))": "me",
    "error(setmetatable({}, {__tostring = function() error('x') end}))": "the script raised a table that has no text",
    "error(setmetatable({}, {__tostring = function(t) return tostring(t) end}))": "the script raised a table that has no text",
    "error('\\xff\\0', 0)": "\udcff\0",
    "local x = nil + 1": "script:1: attempt to perform arithmetic on a nil value",
    "x(": "unexpected symbol near <eof>",
    "('x'):rep(1 << 40)": "script:1: resulting string too large",
    "local function f() string.gsub('a', 'a', f) end f()": "script:1: stack overflow",
}


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_of_any_kind_leaves_as_a_text(text: str) -> None:
    failed = Vm().fail(text)
    assert failed.kind == b"script_error"
    assert ERRORS[text] in failed.message.decode("utf-8", "surrogateescape")


def test_an_error_of_any_size_is_cut() -> None:
    for text in (
        "error(('x'):rep(10000000))",
        "error({error = ('x'):rep(10000000)})",
        "local function f(n) if n == 0 then error('deep') end return (f(n - 1)) end f(150)",
    ):
        failed = Vm().fail(text)
        assert len(failed.message) <= 2010 and len(failed.traceback) <= 4010


TRACED = [
    "local function inner() error('boom') end\nlocal function outer() inner() end\nouter()",
    "local t = setmetatable({}, {__index = function() error('boom') end})\nreturn t.x",
    "for w in ('a'):gmatch('.') do\nerror('boom') end",
    "(('a'):gsub('a', function()\nerror('boom') end))",
    "coroutine.wrap(function()\nerror('boom') end)()",
    "pcall(error)\nassert(false, 'script:2: boom')",
    "table.sort({1, 2, 3}, function()\nerror('boom') end)",
    "load('\\nerror(\"boom\")', '=script')()",
]


@pytest.mark.parametrize("text", TRACED)
def test_a_traceback_names_the_script_s_lines_and_nothing_of_ours(text: str) -> None:
    if text.startswith("("):
        text = "local _ = " + text
    failed = Vm().fail(text)
    trace = failed.traceback.decode()
    assert re.search(r"script:\d: ", failed.message.decode()) and b"boom" in failed.message
    assert re.fullmatch(rb"script:\d", failed.where)
    assert "script:" in trace and "in main chunk" in trace
    for ours in ("luahost", "0x", "/", "chunk'", ".lua", "xpcall", "tail calls"):
        assert ours not in trace, trace


@pytest.mark.parametrize(
    "result", ["print", "coroutine.create(print)", "0/0", "1/0", "{1, 2, x = 3}", "{[1.5] = 1}", "{[2] = 1}"]
)
def test_a_result_that_cannot_leave_says_why(result: str) -> None:
    vm = Vm()
    vm.load(f"return function() return {result} end")
    failed = vm.start("run")
    assert failed.kind == b"invalid_result" and failed.message.startswith(b"the result cannot leave the VM")


# ── it never raises ─────────────────────────────────────────────────────────────────────────────────────

verbs = st.sampled_from([protocol.START, protocol.REPLY, protocol.EVENTS, protocol.CANCEL, 0, 5, 255])
messages = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda verb, id, payload: protocol._MESSAGE.pack(verb, 0.0, id) + payload,
        verbs,
        st.integers(-3, 4) | st.sampled_from([2**63 - 1, -(2**63)]),
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"\x03run\xc0", b"\x04load\xc0", b"\x03run", b"\x07request\x80", b"\xc0", b"\x91\xa1x"]
            ),
        ),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages, min_size=1, max_size=30))
def test_any_bytes_are_answered_or_the_vm_is_declared_broken(steps: list[bytes]) -> None:
    vm = Vm(cpu_s=0.2, memory_bytes=8 * MIB)
    vm.load("return function() return orcs.llm('x', {on_delta = print}) end")
    for step in steps:
        answer = protocol.decode_wants(vm.machine.step(step))
        assert isinstance(answer[-1], Stats)
        assert all(isinstance(want, Call | Ack | Done | Failed | Drop | More) for want in answer[:-1])


def test_the_traceback_of_a_deep_stack_is_its_innermost_lines() -> None:
    """Lua's own walks to the outermost, thirty times."""
    failed = Vm(memory_bytes=256 * MIB).fail(
        "local function deep(n)\n local x = deep(n + 1)\n return x\nend\ndeep(1)"
    )
    assert failed.message == b"script:2: stack overflow"
    assert failed.traceback.decode().split("\n") == [
        "script:2: stack overflow",
        "stack traceback:",
        *["\tscript:2: in upvalue 'deep'"] * 10,
        "\t...",
    ]


def test_cpu_that_the_vm_s_own_clock_did_not_see_is_counted_when_the_worker_tells_of_it() -> None:
    vm = Vm(cpu_s=0.5)
    vm.load("return function() while true do pcall(orcs.now) end end")
    [want, *_] = protocol.decode_wants(vm.machine.step(protocol.start(1, "run", None, 0.0)))
    told_us = 0
    for _ in range(1000):
        if not isinstance(want, Call):
            break
        reply = protocol.reply(want.id, protocol.encode(1.0), 0.0)
        [want, *_, stats] = protocol.decode_wants(vm.machine.step(reply, took_s=0.01))
        told_us += stats.cpu_us
    assert isinstance(want, Failed)
    assert want.kind == b"cpu"
    assert 500_000 <= told_us < 5_000_000  # 50 steps, and up to 1000 instructions until the hook


@pytest.mark.parametrize(
    "begin", ["coroutine.wrap(tree)(n - 1)", "coroutine.resume(coroutine.create(tree), n - 1)"]
)
def test_a_tree_of_coroutines_too_short_for_the_hook_meets_the_clock(begin: str) -> None:
    tree = f"local function tree(n) if n > 0 then for i = 1, 6 do {begin} end end end"
    vm = Vm(cpu_s=0.02)
    failed = vm.load(f"{tree} tree(8)")
    assert isinstance(failed, Failed)
    assert failed.kind == b"cpu"
    assert vm.stats.cpu_us < 300_000  # all of it takes ten times as long


def test_a_killed_machine_answers_every_message_with_the_reason() -> None:
    vm = Vm()
    vm.machine.kill("enough")
    for message in (b"", b"\xff" * 100, protocol.start(1, "run", None, 0.0)):
        failed, _ = protocol.decode_wants(vm.machine.step(message))
        assert (failed.kind, failed.message, failed.task) == (b"killed", b"enough", 0)


@pytest.mark.parametrize("offset_us", range(0, 4000, 125))
def test_a_kill_at_any_point_around_host_calls_wins_and_leaves_the_vm_consistent(offset_us: int) -> None:
    vm = Vm(cpu_s=0.001 + offset_us / 1e6)
    want = vm.load(
        """
        local doc = {a = {1, 2.5, 'x', orcs.null}, b = ('y'):rep(50)}
        local function work()
          local s = orcs.json_encode(doc) orcs.json_parse(s) orcs.now() pcall(orcs.caps) print(s)
          coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() pcall(orcs.now) end}) coroutine.yield(orcs.now()) end)()
          table.sort({3, 2, 1}, function(a, b) return a < b end) s:gsub('%a', {x = 'y'}) load('return 1')() pcall(require, 'm') string.format('%s', doc)
        end
        while true do pcall(work) xpcall(work, print) end
        """
    )
    steps = 0
    while isinstance(want, Call):
        steps += 1
        assert steps < 50_000
        answer = {"ok": False, "error": "none"} if want.op == b"module" else 1
        want = vm.reply(want.id, answer)
    assert isinstance(want, Failed) and want.kind == b"cpu"
    assert vm.start("run").kind == vm.reply(1, 1).kind == b"cpu"


@pytest.mark.parametrize("spare_kb", range(0, 129, 4))
def test_every_function_answers_or_ends_the_vm_however_full_the_heap_is(spare_kb: int) -> None:
    vm = Vm(memory_bytes=4 * MIB)
    want = vm.load(
        f"""
        local t = {{}}
        local limit = {4 * MIB - spare_kb * 1024} / 1024
        while collectgarbage('count') < limit - 12 do t[#t + 1] = ('x'):rep(7000) .. #t end
        while collectgarbage('count') < limit - 1 do t[#t + 1] = ('x'):rep(200) .. #t end
        for i = 1, 3 do
          orcs.llm('hello') orcs.now() orcs.caps() orcs.can('llm') orcs.llm_dump_sessions() orcs.llm_ping()
          orcs.json_parse('[1,{{"a":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}}]') orcs.json_encode{{1, {{a = 2}}}} orcs.log('info', 'x') print('x', {{}})
        end
        """
    )
    while isinstance(want, Call):
        want = vm.reply(want.id, {"ok": True, "content": "y" * 3000, "allow": True})
    assert isinstance(want, Done) or (isinstance(want, Failed) and want.kind == b"memory"), want
