"""Several strands of one task, driven by hand: who waits, who is ended, what the host is told. Time is played, not waited."""

from __future__ import annotations

import heapq
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_machine import LOOPS, MEMORY, MIB, Vm

from luahost.vm import protocol
from luahost.vm.protocol import Ack, Call, Done, Drop, Failed, More, Stats

CLOSES = "local function guard(name) return setmetatable({}, {__close = function() log[#log + 1] = name end}) end "


class Played(Vm):
    """Answers each sleep when its time has come, other calls at once with the time; notes what is dropped, and when."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.now = 0.0
        self.open: dict[int, Call] = {}
        self.dropped: list[tuple[float, bytes]] = []
        self.most_open = 0
        self.steps = 0
        self._due: list[tuple[float, int, Any]] = []
        self._ended: dict[int, Done | Failed] = {}

    def tell(self, message: bytes) -> None:
        self.steps += 1
        *wants, self.stats = protocol.decode_wants(self.machine.step(message))
        assert isinstance(self.stats, Stats)
        for want in wants:
            if isinstance(want, Call):
                assert want.id not in self.open
                self.open[want.id] = want
                delay = protocol.decode(want.args) if want.op == b"clock.sleep" else 0.0
                heapq.heappush(self._due, (self.now + delay, want.id, None if delay else self.now))
            elif isinstance(want, Drop):
                self.dropped.append((round(self.now, 3), self.open.pop(want.id).op))
            elif isinstance(want, More):
                self.tell(protocol.go_on(self.now))
            else:
                assert isinstance(want, Done | Failed), want
                self._ended[want.task] = want
        self.most_open = max(self.most_open, len(self.open))
        assert self.most_open <= protocol.MAX_OPEN_CALLS

    def play(self, body: str, *, until: float = 1e9) -> Any:
        """What `body` returns as a function, or its Failed; None when it still waits at `until`."""
        loaded = self.load(f"log = {{}} {CLOSES} return function() {body} end")
        assert isinstance(loaded, Done), loaded
        self.tasks += 1
        task = self.tasks
        self.tell(protocol.start(task, "run", None, self.now))
        return self.go_on(task, until)

    def go_on(self, task: int, until: float = 1e9) -> Any:
        while task not in self._ended and 0 not in self._ended and self._due and self._due[0][0] <= until:
            self.now, call, answer = heapq.heappop(self._due)
            if self.open.pop(call, None) is not None:
                self.tell(protocol.reply(call, protocol.encode(answer), self.now))
        if 0 in self._ended:
            return self._ended[0]
        if task not in self._ended:
            assert self.open, "nothing is open, and the task has not ended"
            return None
        ended = self._ended[task]
        if isinstance(ended, Failed):
            return ended
        assert not self.open, "the task has ended, and calls of it are open"
        return protocol.decode(ended.value)


def play(body: str, **limits: Any) -> Any:
    return Played(**limits).play(body)


# ── what each of them does ──────────────────────────────────────────────────────────────────────────────


def test_all_runs_its_functions_at_the_same_time_and_gives_results_in_their_order() -> None:
    vm = Played()
    body = "return orcs.all{function() orcs.sleep(3) return 'a' end, function() orcs.sleep(1) return 'b' end, function() return 'c' end}"
    assert vm.play(body) == ["a", "b", "c"]
    assert (vm.now, vm.most_open) == (3.0, 2)


def test_map_gives_each_item_and_its_index_and_keeps_to_its_concurrency() -> None:
    vm = Played()
    body = "return orcs.map({10, 20, 30, 40, 50}, function(v, i) orcs.sleep(1) return v + i end, {concurrency = 2})"
    assert vm.play(body) == [11, 22, 33, 44, 55]
    assert (vm.now, vm.most_open) == (3.0, 2)


def test_race_gives_the_first_to_end_and_ends_the_others_at_that_moment() -> None:
    vm = Played()
    body = "local v, i = orcs.race{function() orcs.sleep(9) end, function() orcs.sleep(2) return 'x' end, orcs.caps and function() orcs.sleep(8) end} return {v, i}"
    assert vm.play(body) == ["x", 2]
    assert vm.now == 2.0
    assert vm.dropped == [(2.0, b"clock.sleep")] * 2


def test_timeout_returns_what_came_in_time_and_a_failed_result_otherwise() -> None:
    vm = Played()
    assert vm.play("return orcs.timeout(5, function() orcs.sleep(1) return 'in time' end)") == "in time"
    assert vm.dropped == [(1.0, b"clock.sleep")]
    late = vm.play("return orcs.timeout(5, function() orcs.sleep(60) end)")
    assert (late["ok"], late["error_kind"], late["detail"]) == (False, "timeout", {"seconds": 5})
    assert vm.now == 6.0
    assert vm.play("return orcs.timeout(0, function() return 1 end)") == 1  # what needs no time is not late


def test_a_nursery_returns_when_all_that_was_spawned_has_ended() -> None:
    vm = Played()
    body = """
      local v = orcs.nursery(function(n)
        n:spawn(function(x) orcs.sleep(3) log[#log + 1] = x end, 'slow')
        n.spawn(function(x) orcs.sleep(1) log[#log + 1] = x orcs.spawn(function() orcs.sleep(1) log[#log + 1] = 'grandchild' end) end, 'quick')
        orcs.spawn(function(...) log[#log + 1] = select('#', ...) end, nil, nil)
        return 'body'
      end)
      log[#log + 1] = v
      return log
    """
    assert vm.play(body) == [2, "quick", "grandchild", "slow", "body"]
    assert vm.now == 3.0


def test_the_first_error_ends_the_siblings_and_is_raised_as_it_was() -> None:
    vm = Played()
    body = """
      local mine = {error = 'mine', error_kind = 'odd'}
      local ok, e = pcall(orcs.all, {
        function() local x <close> = guard('closed') orcs.sleep(50) log[#log + 1] = 'went on' end,
        function() orcs.sleep(1) error(mine) end,
        function() orcs.sleep(2) error('too late') end,
      })
      return {ok, e == mine, log}
    """
    assert vm.play(body) == [False, True, ["closed"]]
    assert vm.now == 1.0
    assert vm.dropped == [(1.0, b"clock.sleep")] * 2


def test_with_collect_no_error_ends_the_others() -> None:
    body = """
      return orcs.map({1, 2, 3}, function(v)
        orcs.sleep(v)
        if v == 1 then error('one', 0) elseif v == 2 then error({error = 'two', error_kind = 'odd'}) end
        return v
      end, {collect = true})
    """
    first, second, third = play(body)
    assert first == {"ok": False, "error": "one", "error_kind": "script_error", "raised": "one"}
    assert (second["error"], second["error_kind"], second["raised"]["error"]) == ("two", "odd", "two")
    assert third == {"ok": True, "value": 3}


def test_an_error_of_a_strand_is_reported_with_the_line_that_raised_it() -> None:
    failed = play("orcs.all{function()\nlocal function inner()\norcs.sleep(1) error('deep') end\ninner() end}")
    assert isinstance(failed, Failed)
    assert (failed.message, failed.where) == (b"script:3: deep", b"script:3")
    assert b"inner" in failed.traceback and b"luahost" not in failed.traceback


def test_they_nest_and_the_inner_ends_with_the_outer() -> None:
    vm = Played()
    body = """
      return orcs.timeout(4, function()
        orcs.map({1, 2}, function(v)
          local x <close> = guard('map ' .. v)
          orcs.all{
            function() local y <close> = guard('all ' .. v) orcs.sleep(v == 1 and 2 or 100) end,
            function() orcs.race{function() orcs.sleep(1) end, function() orcs.sleep(100) end} end,
          }
        end)
      end).error_kind .. ' ' .. table.concat(log, ', ')
    """
    assert vm.play(body) == "timeout all 1, map 1, all 2, map 2"
    assert vm.now == 4.0
    assert not vm.open


def test_nothing_at_all_is_a_list_of_nothing() -> None:
    assert (
        play("return orcs.json_encode{orcs.all{}, orcs.map({}, print), (orcs.nursery(function() end)) == nil}")
        == "[{},{},true]"
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("orcs.all()", "bad argument #1 to 'all' (list of functions expected, got no value)"),
        ("orcs.all{print, 5}", "bad argument #1 to 'all' (item 2: function expected, got number)"),
        ("orcs.all({}, {colect = true})", "no option colect; there are collect and concurrency"),
        ("orcs.map({}, print, {concurrency = 0})", "concurrency: a whole number from 1 on expected"),
        ("orcs.map({}, print, {concurrency = 0/0})", "concurrency: a whole number from 1 on expected"),
        ("orcs.map({}, print, {collect = 1})", "collect: true or false expected"),
        ("orcs.map('x', print)", "bad argument #1 to 'map' (list expected, got string)"),
        ("orcs.map({})", "bad argument #2 to 'map' (function expected, got no value)"),
        ("orcs.race{}", "one function or more expected"),
        ("orcs.timeout(print)", "bad argument #1 to 'timeout' (number expected, got function)"),
        ("orcs.timeout(-1, print)", "seconds from 0 on expected"),
        ("orcs.timeout(0/0, print)", "seconds from 0 on expected"),
        ("orcs.timeout(1)", "bad argument #2 to 'timeout' (function expected, got no value)"),
        ("orcs.nursery(5)", "bad argument #1 to 'nursery' (function expected, got number)"),
        ("orcs.nursery(function(n) n:spawn(5) end)", "bad argument #1 to 'spawn' (function expected, got number)"),
        ("orcs.spawn(print)", "only inside orcs.nursery"),
        ("orcs.spawn()", "bad argument #1 to 'spawn' (function expected, got no value)"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_errors_of_the_line_that_gave_them(call: str, words: str) -> None:
    failed = play(f"\n{call}")
    assert isinstance(failed, Failed)
    assert words in failed.message.decode()
    assert failed.message.startswith(b"script:2: ")


# ── user coroutines, inside and around ──────────────────────────────────────────────────────────────────


def test_generators_work_inside_strands_and_around_them() -> None:
    body = """
      local function counter(pause) return coroutine.wrap(function() for i = 1, 3 do orcs.sleep(pause) coroutine.yield(i) end end) end
      local around = coroutine.wrap(function()
        for round = 1, 2 do
          coroutine.yield(orcs.all{
            function() local sum = 0 for v in counter(1) do sum = sum + v end return sum end,
            function() local next, all = counter(2), {} for i = 1, 3 do all[i] = next() end return table.concat(all, '') end,
          })
        end
      end)
      local a, b = around(), around()
      return {a[1], a[2], b[1], b[2], (orcs.race{function() return coroutine.wrap(orcs.now)() end})}
    """
    assert play(body) == [6, "123", 6, "123", 12.0]


def test_a_strand_does_not_yield_to_the_coroutine_around_its_group() -> None:
    body = "return coroutine.wrap(function() local r = orcs.all{function() return select(2, pcall(coroutine.yield, 1)) end} return r[1] end)()"
    assert "outside a coroutine" in play(body)


def test_a_generator_that_waits_in_one_strand_is_not_resumed_or_closed_by_another() -> None:
    body = """
      local co = coroutine.create(function() orcs.sleep(2) coroutine.yield('mine') end)
      return orcs.all{
        function() return select(2, coroutine.resume(co)) end,
        function() return select(2, coroutine.resume(co)) end,
        function() return coroutine.status(co) end,
        function() return select(2, pcall(coroutine.close, co)) end,
      }
    """
    mine, resumed, status, closed = play(body)
    assert (mine, status) == ("mine", "normal")
    assert "cannot resume" in resumed and "cannot close" in closed


def test_the_variables_of_coroutines_below_an_ended_strand_are_closed_innermost_first() -> None:
    body = """
      local function below(n) local x <close> = guard(n) if n == 3 then orcs.sleep(99) end coroutine.wrap(below)(n + 1) end
      local idle = coroutine.wrap(function() local x <close> = guard('idle') orcs.now() coroutine.yield() end)
      orcs.timeout(1, function() local x <close> = guard('strand') idle() below(1) end)
      return log
    """
    assert play(body) == [3, 2, 1, "strand"]


def test_a_strand_is_no_coroutine_that_a_script_can_resume_or_close() -> None:
    body = """
      local co
      return orcs.all{
        function() co = coroutine.running() orcs.sleep(1) return 'untouched' end,
        function() return {select(2, coroutine.resume(co)), select(2, pcall(coroutine.close, co)), coroutine.status(co)} end,
        function() local co, main = coroutine.running() return {main, coroutine.isyieldable()} end,
      }
    """
    untouched, other, inside = play(body)
    assert untouched == "untouched"
    assert "cannot resume" in other[0] and "cannot close" in other[1] and other[2] == "normal"
    assert inside == [True, False]


def test_where_nothing_can_wait_no_strand_begins() -> None:
    body = """
      local ok, e = pcall(tostring, setmetatable({}, {__tostring = function() orcs.all{function() log[1] = 'ran' end} end}))
      local also = select(2, pcall(tostring, setmetatable({}, {__tostring = function()
        return coroutine.wrap(function() orcs.all{function() log[1] = 'ran' end} end)() end})))
      orcs.sleep(1)
      return {e, also, log}
    """
    said, also, log = play(body)
    assert "this cannot wait here" in said and "C-call boundary" in also
    assert log == {}


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_can_be_spawned_in_a_nursery_that_has_ended() -> None:
    body = """
      local kept
      orcs.nursery(function(n) kept = n end)
      local late = select(2, pcall(kept.spawn, print))
      pcall(orcs.nursery, function(n)
        kept = n
        n:spawn(function() local x <close> = setmetatable({}, {__close = function() log[1] = select(2, pcall(n.spawn, n, print)) log[2] = select(2, pcall(orcs.spawn, print)) end}) orcs.sleep(9) end)
        orcs.sleep(1)
        error('x')
      end)
      return {late, log[1], log[2]}
    """
    for said in play(body):
        assert "the nursery has ended" in said


def test_what_is_spawned_from_another_task_belongs_to_the_nursery_s() -> None:
    vm = Played()
    vm.load(
        "return {run = function() return orcs.nursery(function(n) kept = n orcs.sleep(1) return 'done' end) end,"
        " on_request = function() kept.spawn(function() orcs.sleep(5) spawned = true end) return 'asked' end}"
    )
    vm.tell(protocol.start(50, "run", None, 0.0))
    vm.tell(protocol.start(51, "request", {}, 0.0))
    assert protocol.decode(vm._ended[51].value) == "asked"  # type: ignore[union-attr]
    assert [call.task for call in vm.open.values()] == [50, 50]
    assert vm.go_on(50) == "done"
    assert vm.now == 5.0


def test_no_call_leaves_of_a_strand_that_is_ended_in_the_same_step() -> None:
    vm = Played()
    body = "return (orcs.race{function() orcs.sleep(9) end, function() orcs.now() orcs.sleep(9) end, function() return 'first' end})"
    assert vm.play(body) == "first"
    assert (vm.most_open, vm.dropped) == (0, [])


def test_an_answer_to_a_dropped_call_is_ignored() -> None:
    vm = Vm()
    vm.load(
        "return function() orcs.race{function() orcs.sleep(9) error('woken') end, orcs.now} orcs.now() return 'sound' end"
    )
    sleep, now = vm.start("run")
    drop, call = vm.reply(now.id, 1)
    assert drop == Drop(sleep.id)
    assert vm.reply(sleep.id, None) == []
    assert vm.finish(vm.reply(call.id, 1)) == "sound"


def test_an_error_in_a_close_variable_of_an_ended_strand_is_raised_unless_there_was_one_before() -> None:
    bad = "local x <close> = setmetatable({}, {__close = function(_, e) error('in close', 0) end}) "
    lost = play(f"return select(2, pcall(orcs.race, {{function() {bad} orcs.sleep(9) end, orcs.now}}))")
    assert lost == "in close"
    kept = play(
        f"return select(2, pcall(orcs.all, {{function() {bad} orcs.sleep(9) end, function() orcs.now() error('first', 0) end}}))"
    )
    assert kept == "first"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "orcs.race{function() orcs.sleep(1) end, function() local x <close> = bad orcs.sleep(5) end}",
            "script:1: in closing",
        ),
        (
            "local t = {} for i = 1, 10001 do t[i] = i end orcs.map(t, orcs.sleep, {concurrency = 1e5})",
            "orcs: more than 10000 functions at a time",
        ),
    ],
    ids=["close", "too many"],
)
def test_a_failure_that_no_strand_raised_ends_the_task_with_its_text(body: str, message: str) -> None:
    vm = Played()
    bad = "local bad = setmetatable({}, {__close = function() error('in closing') end})"
    for wrapped in (body, f"orcs.all{{function() {body} end}}"):
        failed = vm.play(f"{bad} {wrapped}")
        assert isinstance(failed, Failed), failed
        assert failed.kind == b"script_error"
        assert failed.message.decode().startswith(message)
        assert failed.where == b"script:1"
    assert vm.play("return 7") == 7


def test_what_is_ended_may_not_call_the_host_nor_wait() -> None:
    body = """
      local function try(f) return setmetatable({}, {__close = function() log[#log + 1] = select(2, pcall(f)) end}) end
      orcs.timeout(1, function()
        local a <close> = try(orcs.now)
        local b <close> = try(function() orcs.all{orcs.now} end)
        local c <close> = try(function() coroutine.wrap(orcs.now)() end)
        local d <close> = try(function() coroutine.wrap(function() orcs.race{orcs.now} end)() end)
        orcs.sleep(9)
      end)
      return log
    """
    said = play(body)
    assert len(said) == 4
    for each in said:
        assert "while what runs is being ended" in each


@pytest.mark.parametrize(
    "end", ["orcs.timeout(1, f)", "orcs.race{f, orcs.now}", "orcs.all{f, function() orcs.now() error('x') end}"]
)
def test_close_variables_of_what_is_ended_have_a_tenth_of_a_second_together(end: str) -> None:
    vm = Played(cpu_s=20.0)
    body = f"local function f() local x <close> = setmetatable({{}}, {{__close = function() while true do pcall(function() while true do end end) end end}}) orcs.sleep(9) end pcall(function() {end} end) return 'survived'"
    failed = vm.play(body)
    assert isinstance(failed, Failed) and failed.kind == b"cpu"
    assert b"<close>" in failed.message
    assert vm.stats.cpu_us < 500_000


def test_ending_strands_gives_no_cpu_that_the_activation_has_not() -> None:
    vm = Played(cpu_s=0.15)
    burn = "local x <close> = setmetatable({}, {__close = function() local t = os.clock() while os.clock() - t < 0.05 do end end})"
    body = f"for i = 1, 100 do orcs.race{{function() {burn} orcs.sleep(9) end, orcs.now}} end return 'survived'"
    failed = vm.play(body)
    assert isinstance(failed, Failed) and failed.kind == b"cpu"


def test_cancelling_the_task_ends_all_its_strands_and_drops_all_their_calls() -> None:
    vm = Played()
    body = "orcs.map({1, 2, 3}, function(v) local x <close> = guard(v) orcs.nursery(function(n) n:spawn(orcs.sleep, 9) orcs.sleep(9) end) end)"
    assert vm.play(body, until=5.0) is None
    assert len(vm.open) == 6
    vm.tell(protocol.cancel(vm.tasks, 5.0))
    assert not vm.open and len(vm.dropped) == 6
    assert vm.run("return log") == [3, 2, 1]


# ── limits hold in every strand ─────────────────────────────────────────────────────────────────────────

IN_STRANDS = {
    "all": "orcs.all{{function() {} end, function() orcs.sleep(9) end}}",
    "woken": "orcs.all{{function() orcs.now() pcall(function() {} end) end}}",
    "spawned": "pcall(orcs.nursery, function(n) n:spawn(function() {} end) orcs.sleep(9) end)",
    "in a coroutine in a strand": "orcs.map({{1, 2}}, function() coroutine.wrap(function() pcall(orcs.race, {{function() {} end}}) end)() end)",
}


@pytest.mark.parametrize("place", IN_STRANDS)
@pytest.mark.parametrize(
    "name", ["pcall", "coroutine", "short coroutines", "xpcall handler", "close in wrap", "tostring"]
)
def test_the_cpu_limit_holds_in_every_strand(place: str, name: str) -> None:
    vm = Played(cpu_s=0.05)
    failed = vm.play(IN_STRANDS[place].format(LOOPS[name]))
    assert isinstance(failed, Failed) and failed.kind == b"cpu", failed
    assert vm.stats.cpu_us < 150_000
    assert vm.start("run").kind == b"cpu"


@pytest.mark.parametrize("name", ["caught", "in a coroutine", "handler"])
def test_the_memory_limit_holds_in_every_strand(name: str) -> None:
    vm = Played(memory_bytes=8 * MIB)
    failed = vm.play(f"pcall(orcs.all, {{function() orcs.now() {MEMORY[name]} end, function() orcs.sleep(9) end}})")
    assert isinstance(failed, Failed) and failed.kind == b"memory"


STORMS = {
    "strands that spawn strands": "orcs.nursery(function(n) local function f() n:spawn(f) n:spawn(f) end f() end)",
    "strands too short for the hook": "orcs.nursery(function(n) local function f() n:spawn(f) end f() end)",
    "groups in a loop": "while true do orcs.all{function() end} end",
    "a race without end": "while true do orcs.race{function() orcs.sleep(1) end, function() end} end",
    "groups below groups": "local function f() orcs.all{f} end f()",
    "errors": "while true do pcall(orcs.all, {error}) end",
}


@pytest.mark.parametrize("name", STORMS)
def test_a_storm_of_strands_ends_at_a_limit(name: str) -> None:
    vm = Played(cpu_s=0.2, memory_bytes=16 * MIB)
    failed = vm.play(STORMS[name])
    assert isinstance(failed, Failed), failed
    assert failed.kind in (b"cpu", b"memory") or b"more than 10000 functions at a time" in failed.message
    assert vm.stats.cpu_us < 500_000


def test_thirty_thousand_short_strands_one_after_another_are_no_storm() -> None:
    vm = Played(cpu_s=10.0)
    assert (
        vm.play(
            "local n = 0 local t = {} for i = 1, 30000 do t[i] = i end orcs.map(t, function(v) n = n + v end) return n"
        )
        == 450_015_000
    )
    assert vm.stats.memory_bytes < 20 * MIB


def test_more_strands_than_may_be_are_refused_with_an_error_that_can_be_caught() -> None:
    body = "local ok, e = pcall(orcs.nursery, function(n) for i = 1, 20000 do n:spawn(orcs.sleep, 9) end end) orcs.sleep(1) return e"
    vm = Played()
    assert "more than 10000 functions at a time" in vm.play(body)
    assert not vm.open


def test_at_most_a_thousand_calls_are_open_and_the_others_wait_their_turn() -> None:
    vm = Played()
    body = "orcs.nursery(function(n) for i = 1, 2500 do n:spawn(function() orcs.sleep(1) log[#log + 1] = i end) end end) return #log"
    assert vm.play(body) == 2500
    assert (vm.most_open, vm.now) == (1000, 3.0)


def test_waiting_calls_of_ended_strands_are_never_made() -> None:
    vm = Played()
    body = "orcs.timeout(1, function() orcs.nursery(function(n) for i = 1, 3000 do n:spawn(orcs.sleep, 9) end end) end) return 'ended'"
    assert vm.play(body) == "ended"
    assert vm.most_open == 1000 and len(vm.dropped) == 999 and vm.now == 1.0


def test_calls_too_large_for_one_step_come_in_the_next() -> None:
    vm = Played(value_bytes=MIB, memory_bytes=64 * MIB)
    body = "local big = ('x'):rep(900000) local r = orcs.map({1, 2, 3, 4, 5}, function() return orcs.llm(big) end) return #r"
    assert vm.play(body) == 5
    assert vm.most_open == 5


# ── modules ─────────────────────────────────────────────────────────────────────────────────────────────


class Modules(Played):
    """A host that has these modules; each takes a second to be read."""

    def __init__(self, **sources: str) -> None:
        super().__init__()
        self.sources, self.asked = sources, []  # type: ignore[var-annotated]

    def tell(self, message: bytes) -> None:
        super().tell(message)
        for at, (due, call, answer) in enumerate(self._due):
            if call in self.open and self.open[call].op == b"module" and not isinstance(answer, dict):
                name = protocol.decode(self.open[call].args)["name"]
                self.asked.append(name)
                source = self.sources.get(name)
                found = {"ok": True, "source": (source or "").encode(), "name": f"{name}.lua"}
                self._due[at] = (due + 1, call, found if source is not None else {"ok": False, "error": "none"})
        heapq.heapify(self._due)


def test_a_module_that_two_strands_want_is_run_once() -> None:
    vm = Modules(m="times = (times or 0) + 1 orcs.sleep(1) return {times}")
    assert vm.play(
        "local r = orcs.map({1, 2, 3}, function() return require 'm' end) return {r[1] == r[3], r[2][1]}"
    ) == [True, 1]
    assert vm.asked == ["m"]


def test_modules_that_require_each_other_from_two_strands_are_told_so() -> None:
    vm = Modules(a="orcs.sleep(1) return require 'b'", b="orcs.sleep(1) return require 'a'")
    said = vm.play("local r = orcs.map({'a', 'b'}, require, {collect = true}) return {r[1].error, r[2].error}")
    assert all("requires itself" in each for each in said)
    inside = Modules(a="return orcs.all{function() return require 'a' end}")
    assert "requires itself" in inside.play("return select(2, pcall(require, 'a'))")


def test_a_module_whose_first_load_fails_or_is_ended_is_loaded_by_the_next() -> None:
    vm = Modules(m="n = (n or 0) + 1 orcs.sleep(5) if n == 1 then error('first') end return n")
    assert (
        vm.play("local r = orcs.map({1, 2}, function() return (select(2, pcall(require, 'm'))) end) return r[2]")
        == 2
    )
    ended = Modules(m="orcs.sleep(5) return 'there'")
    body = "local r = orcs.all{function() return orcs.timeout(3, function() return require 'm' end).ok end, function() orcs.sleep(2) return require 'm' end} return r"
    assert ended.play(body) == [False, "there"]
    assert (ended.asked, ended.now) == (["m", "m"], 9.0)


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────


def test_streams_of_two_strands_do_not_mix() -> None:
    vm = Vm()
    vm.load(
        "return function() return orcs.map({'a', 'b'}, function(name) local got = name orcs.llm('x', {on_delta = function(t) got = got .. t end}) return got end) end"
    )
    a, b = vm.start("run")
    assert vm.events(a.id, "1") == Ack(a.id, True)
    assert vm.events(b.id, "2", "3") == Ack(b.id, True)
    assert vm.events(a.id, "4") == Ack(a.id, True)
    assert vm.reply(a.id, {"ok": True}) == []
    assert protocol.decode(vm.reply(b.id, {"ok": True}).value) == ["a14", "b23"]


def test_a_stream_whose_callback_waits_is_dropped_with_its_callback_s_call() -> None:
    vm = Vm()
    vm.load(
        "return function() return orcs.timeout(1, function() orcs.llm('x', {on_delta = function() orcs.sleep(99) end}) end).error_kind end"
    )
    stream, clock = vm.start("run")
    inner = vm.events(stream.id, "a")
    assert inner.op == b"clock.sleep"
    *drops, done = vm.reply(clock.id, None)
    assert {drop.id for drop in drops} == {stream.id, inner.id}
    assert protocol.decode(done.value) == "timeout"
    assert vm.events(stream.id, "b") == [] and vm.reply(stream.id, 1) == []


def test_a_callback_may_run_a_group_while_its_stream_waits() -> None:
    vm = Vm()
    vm.load(
        "return function() local sum = 0 orcs.llm('x', {on_delta = function() for _, v in ipairs(orcs.all{orcs.now, orcs.now}) do sum = sum + v end end}) return sum end"
    )
    stream = vm.start("run")
    one, two = vm.events(stream.id, "a")
    assert vm.reply(one.id, 40) == []
    assert vm.reply(two.id, 2) == Ack(stream.id, True)
    assert vm.finish(vm.reply(stream.id, {"ok": True})) == 42


# ── the whole ───────────────────────────────────────────────────────────────────────────────────────────

SLEEPS = st.integers(0, 4).map(lambda n: ("sleep", n))
TREES = st.recursive(
    SLEEPS | st.just(("error",)),
    lambda below: (
        st.tuples(st.sampled_from(["all", "race", "collect", "nursery"]), st.lists(below, min_size=1, max_size=4))
        | st.tuples(st.just("timeout"), st.integers(0, 5), below)
        | st.tuples(st.just("wrap"), below)
        | st.tuples(st.just("seq"), st.lists(below, max_size=3))
    ),
    max_leaves=14,
)


def written(tree: Any) -> str:
    """The tree as a Lua function; each function counts itself in while it runs."""
    kind, *rest = tree
    if kind == "sleep":
        text = f"orcs.sleep({rest[0]})"
    elif kind == "error":
        text = "orcs.now() error('x', 0)"
    elif kind in ("all", "race"):
        text = f"orcs.{kind}{{{', '.join(map(written, rest[0]))}}}"
    elif kind == "collect":
        text = f"orcs.all({{{', '.join(map(written, rest[0]))}}}, {{collect = true}})"
    elif kind == "nursery":
        first, *others = map(written, rest[0])
        text = f"orcs.nursery(function(n) {' '.join(f'n:spawn({each})' for each in others)} ({first})() end)"
    elif kind == "timeout":
        text = f"orcs.timeout({rest[0]}, {written(rest[1])})"
    elif kind == "wrap":
        text = f"coroutine.wrap({written(rest[0])})()"
    else:
        text = " ".join(f"({each})()" for each in map(written, rest[0]))
    return f"function() running = running + 1 local x <close> = counted; {text} end"


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_whatever_is_nested_in_whatever_nothing_of_a_group_is_left_when_it_returns(tree: Any) -> None:
    vm = Played()
    body = f"""
      running = 0
      counted = setmetatable({{}}, {{__close = function() running = running - 1 end}})
      pcall({written(tree)})
      return running
    """
    assert vm.play(body) == 0
    assert not vm.open
