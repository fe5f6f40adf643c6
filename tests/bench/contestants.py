"""The clients that are compared, each in a process of its own: `contestants.py NAME URL`, spoken to in lines of JSON.

    {"do": "calls", "model": "json-0", "calls": 500, "at_once": 100, "warm": true, "cap_s": 60}
    {"do": "stream", "model": "sse-1000-burst", "events": 1000, "streams": 3, "at_once": 1, "on_delta": false}
    {"do": "first", "times": 50}                    (luahost, raw) seconds to the first token of a stream
    {"do": "agents", "agents": 5000, …}             (luahost) see Luahost.agents

All send the same prompt, and each answer is checked. `host_s` is the CPU of this process, `worker_s` of luahost's
workers and their zygote. Works without luahost installed, so that peers can have an environment of their own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from figures import ANSWER, EVENT_TEXT, PROMPT, Lateness, cpu_of_all, raise_descriptors

MESSAGES = [{"role": "user", "content": PROMPT}]


class Wrong(Exception):
    """An answer that is not the one that was sent."""


class Client:
    """One contestant. `call` and `stream` raise when the answer is not the right one."""

    loop = "trio"

    def __init__(self, url: str) -> None:
        self.url = url
        self.batches = 0  # luahost: frames of events that went into VMs

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def workers(self) -> list[int]:
        return []

    async def call(self, model: str) -> None:
        raise NotImplementedError

    async def stream(self, model: str, events: int, on_delta: bool) -> None:
        raise NotImplementedError

    async def calls(self, model: str, calls: int, at_once: int) -> list[str]:
        return await self._share_out(calls, at_once, lambda: self.call(model))

    async def streams(self, model: str, events: int, streams: int, at_once: int, on_delta: bool) -> list[str]:
        return await self._share_out(streams, at_once, lambda: self.stream(model, events, on_delta))

    async def _share_out(self, times: int, at_once: int, act: Callable[[], Awaitable[None]]) -> list[str]:
        """`times` acts by `at_once` tasks; what went wrong."""
        errors: list[str] = []
        left = times

        async def task() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                try:
                    await act()
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}"[:200])

        if self.loop == "trio":
            import trio

            async with trio.open_nursery() as nursery:
                for _ in range(min(at_once, times)):
                    nursery.start_soon(task)
        else:
            await asyncio.gather(*(task() for _ in range(min(at_once, times))))
        return errors


def _check(text: str | None) -> None:
    if text != ANSWER:
        raise Wrong(f"{text!r:.80}")


def _check_stream(text: str, events: int) -> None:
    if text != EVENT_TEXT * events:
        raise Wrong(f"{len(text)} characters of {len(EVENT_TEXT) * events}")


# ── luahost ─────────────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
return function(a)
  local good, why, seen = 0, nil, 0
  local opts = { model = a.model, stream = a.stream }
  if a.on_delta then opts.on_delta = function(text) seen = seen + 1 end end
  for _ = 1, a.calls do
    local r = orcs.llm(a.prompt, opts)
    if r.ok and r.content == a.expect and r.attempts == 1 then good = good + 1
    else why = r.error or ("attempts: " .. tostring(r.attempts)) end
  end
  return { good = good, why = why, seen = seen }
end
"""

FIRST = """
return function(a)
  local first = true
  local r = orcs.llm(a.prompt, { model = a.model, on_delta = function() if first then orcs.output("first") first = false end end })
  return r.ok
end
"""


class Luahost(Client):
    """Calls by scripts: one VM for each of the `at_once`, kept from round to round."""

    isolation = "vm"

    async def open(self) -> None:
        import luahost

        self.luahost = luahost
        provider = luahost.Provider(name="bench", base_url=self.url, model="json-0")
        config = luahost.Config(providers={"bench": provider}, provider="bench")
        self.heard: list[float] = []
        self.host = luahost.Host(config, output=lambda vm, kind, text: self.heard.append(time.perf_counter()))
        await self.host.__aenter__()
        self.vms: list[Any] = []

    async def close(self) -> None:
        await self.host.__aexit__(None, None, None)

    def workers(self) -> list[int]:
        pool = self.host._pool
        return [pool.zygote_pid, *pool.worker_pids]

    async def load(self, script: str = SCRIPT) -> Any:
        limits = self.luahost.Limits(isolation=self.isolation)
        return await self.host.load(
            self.luahost.Source(script, "bench.lua"), grants=[self.luahost.Grant.llm()], limits=limits
        )

    async def at_least(self, vms: int) -> None:
        while len(self.vms) < vms:
            self.vms.append(await self.load())

    async def prepare(self, command: dict[str, Any]) -> None:
        """VMs are loaded before the clock runs; what that costs is vm.py's."""
        await self.at_least(min(command["at_once"], command.get("calls", command.get("streams", 1))))

    async def calls(self, model: str, calls: int, at_once: int) -> list[str]:
        vms = self.vms[: min(at_once, calls)]
        parts = [calls // len(vms) + (n < calls % len(vms)) for n in range(len(vms))]
        asked = {"model": model, "prompt": PROMPT, "expect": ANSWER}
        return await self._run(vms, [asked | {"calls": part} for part in parts])

    async def streams(self, model: str, events: int, streams: int, at_once: int, on_delta: bool) -> list[str]:
        vms = self.vms[: min(at_once, streams)]
        each = streams // len(vms)
        asked = {"model": model, "prompt": PROMPT, "expect": EVENT_TEXT * events, "stream": True, "calls": each}
        before = sum(vm._port.steps_done for vm in vms)
        errors = await self._run(vms, [asked | {"on_delta": on_delta}] * len(vms), events * each if on_delta else 0)
        self.batches = sum(vm._port.steps_done for vm in vms) - before - (each + 1) * len(vms)
        return errors

    async def _run(self, vms: list[Any], asked: list[dict[str, Any]], seen: int = 0) -> list[str]:
        import trio

        errors: list[str] = []

        async def one(vm: Any, arg: dict[str, Any]) -> None:
            try:
                said = await vm.run(arg)
            except self.luahost.LuahostError as error:
                errors.append(f"{type(error).__name__}: {error}"[:200])
                return
            if said["good"] != arg["calls"]:
                errors.append(str(said.get("why")))
            elif said["seen"] != seen:
                errors.append(f"on_delta was called {said['seen']} times for {seen} events")

        async with trio.open_nursery() as nursery:
            for vm, arg in zip(vms, asked, strict=True):
                nursery.start_soon(one, vm, arg)
        return errors

    async def first(self, times: int) -> list[float]:
        """From vm.run to what the script's on_delta says when the first token is there, seen by the host."""
        vm = await self.load(FIRST)
        took = []
        for _ in range(times + 5):
            self.heard.clear()
            began = time.perf_counter()
            assert await vm.run({"model": "sse-1-burst", "prompt": PROMPT}) is True
            took.append(self.heard[0] - began)
        await vm.close()
        return took[5:]

    async def agents(
        self, agents: int, again: int, tell: Callable[[dict[str, Any]], None], **phase: Any
    ) -> dict[str, Any]:
        """`agents` VMs, each loaded, then run as _phase says; `again` times more with all starting at once."""
        import trio

        began = time.perf_counter()
        vms: list[Any] = []

        async def load_some() -> None:
            while len(vms) < agents:
                at = len(vms)
                vms.append(None)  # a place
                vms[at] = await self.load()

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(load_some)
        load_s = time.perf_counter() - began
        phases = [await self._phase(vms, tell=tell, **phase)]
        for _ in range(again):
            phases.append(await self._phase(vms, tell=tell, **phase | {"spread_s": 0, "wait_s": 0}))
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for vm in vms:
                nursery.start_soon(vm.close)
        return {**phases[0], "again": phases[1:], "load_s": load_s, "close_s": time.perf_counter() - began}

    async def _phase(
        self,
        vms: list[Any],
        model: str,
        calls: int,
        spread_s: float,
        wait_s: float,
        tell: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        """Runs every VM once, with `calls` calls; they start within `spread_s`.

        With `wait_s`, so long after the last start, while all wait for their first answer, {"now": "waiting"} is
        said: the one who asks looks at the memory. The loop's lateness is taken from the first start to the last end.
        """
        import trio

        gc.collect()
        lateness, errors, waiting = Lateness(), [], 0
        asked = {"model": model, "prompt": PROMPT, "expect": ANSWER, "calls": calls}
        workers = self.workers()
        host_s, worker_s = time.process_time(), cpu_of_all(workers)
        began = time.perf_counter()

        async def one(vm: Any) -> None:
            errors.extend(await self._run([vm], [asked]))

        async with trio.open_nursery() as around:
            around.start_soon(lateness.run)
            async with trio.open_nursery() as nursery:
                first_s = trio.current_time()
                for at, vm in enumerate(vms):
                    if spread_s:
                        await trio.sleep_until(first_s + spread_s * at / len(vms))
                    nursery.start_soon(one, vm)
                if wait_s:
                    await trio.sleep_until(first_s + spread_s + wait_s)
                    waiting = sum(len(vm.waiting_for) for vm in vms)
                    tell({"now": "waiting"})
            wall_s = time.perf_counter() - began
            around.cancel_scope.cancel()
        return {
            "host_s": time.process_time() - host_s,
            "worker_s": cpu_of_all(workers) - worker_s,
            "wall_s": wall_s,
            "waiting": waiting,
            "errors": len(errors),
            "error": errors[0] if errors else None,
            "late_p50_s": lateness.at(0.5),
            "late_p99_s": lateness.at(0.99),
            "late_max_s": max(lateness.late_s),
        }


class LuahostShared(Luahost):
    isolation = "shared"


# ── the limit, and httpx as it comes ────────────────────────────────────────────────────────────────────


class Raw(Client):
    """Bytes on trio's sockets: what any Python client on trio must at least cost."""

    async def open(self) -> None:
        import msgspec

        delta = msgspec.defstruct("Delta", [("content", str, "")])
        choice = msgspec.defstruct("Choice", [("delta", delta)])
        event = msgspec.defstruct("Event", [("choices", list[choice])])
        self._decode = msgspec.json.Decoder(event).decode
        self._idle: list[Any] = []
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        self._at = (host, int(port))
        self._answer = json.dumps(ANSWER).encode()

    def _request(self, model: str, stream: bool) -> bytes:
        body = json.dumps({"model": model, "messages": MESSAGES, "stream": stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def _connected(self) -> Any:
        import trio

        if self._idle:
            return self._idle.pop()
        sock = trio.socket.socket()
        await sock.connect(self._at)
        return sock

    async def call(self, model: str) -> None:
        sock = await self._connected()
        await sock.send(self._request(model, stream=False))
        data = b""
        while True:
            part = await sock.recv(65536)
            data += part
            head, _, body = data.partition(b"\r\n\r\n")
            if not part or (body and len(body) >= int(head[head.rindex(b":") + 1 :])):
                break
        if self._answer not in body:
            raise Wrong(repr(data[:80]))
        self._idle.append(sock)

    async def stream(self, model: str, events: int, on_delta: bool) -> None:
        sock = await self._connected()
        await sock.send(self._request(model, stream=True))
        text, rest = [], b""
        while not rest.endswith(b"0\r\n\r\n"):
            part = await sock.recv(65536)
            if not part:
                raise Wrong("the end")
            *pieces, rest = (rest + part).split(b"\n\n")
            for piece in pieces:
                data = piece[piece.index(b"data: ") + 6 :]
                if data != b"[DONE]":
                    event = self._decode(data)
                    if event.choices and event.choices[0].delta.content:
                        text.append(event.choices[0].delta.content)
        _check_stream("".join(text), events)
        self._idle.append(sock)

    async def first(self, times: int) -> list[float]:
        took = []
        request = self._request("sse-1-burst", stream=True)
        sock = await self._connected()
        for _ in range(times + 5):
            began = time.perf_counter()
            await sock.send(request)
            data = b""
            while EVENT_TEXT.encode() not in data:
                data += await sock.recv(65536)
            took.append(time.perf_counter() - began)
            while not data.endswith(b"0\r\n\r\n"):
                data += await sock.recv(65536)
        self._idle.append(sock)
        return took[5:]


class Httpx(Client):
    """httpx.AsyncClient with its own transport; only its limit of connections and its time-outs are out of the way."""

    async def open(self) -> None:
        import httpx

        self._http = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None), timeout=60
        )
        self._url = f"{self.url}/v1/chat/completions"

    async def call(self, model: str) -> None:
        answer = await self._http.post(self._url, json={"model": model, "messages": MESSAGES, "stream": False})
        _check(answer.json()["choices"][0]["message"]["content"])

    async def stream(self, model: str, events: int, on_delta: bool) -> None:
        text = []
        body = {"model": model, "messages": MESSAGES, "stream": True}
        async with self._http.stream("POST", self._url, json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    event = json.loads(line[6:])
                    if event["choices"]:
                        text.append(event["choices"][0]["delta"].get("content") or "")
        _check_stream("".join(text), events)


# ── peers, where they are installed ─────────────────────────────────────────────────────────────────────


class OpenAI(Client):
    async def open(self) -> None:
        import openai

        self._openai = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="bench", max_retries=0, timeout=60)

    async def call(self, model: str) -> None:
        answer = await self._openai.chat.completions.create(model=model, messages=MESSAGES)
        _check(answer.choices[0].message.content)

    async def stream(self, model: str, events: int, on_delta: bool) -> None:
        text = []
        async with await self._openai.chat.completions.create(
            model=model, messages=MESSAGES, stream=True
        ) as stream:
            async for event in stream:
                if event.choices:
                    text.append(event.choices[0].delta.content or "")
        _check_stream("".join(text), events)


class Anthropic(Client):
    async def open(self) -> None:
        import anthropic

        self._anthropic = anthropic.AsyncAnthropic(base_url=self.url, api_key="bench", max_retries=0, timeout=60)

    async def call(self, model: str) -> None:
        answer = await self._anthropic.messages.create(model=model, messages=MESSAGES, max_tokens=100)
        _check(answer.content[0].text)


class LiteLLM(Client):
    loop = "asyncio"

    async def open(self) -> None:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
        import litellm

        litellm.suppress_debug_info = True
        litellm.telemetry = False
        self._litellm = litellm

    def _asked(self, model: str) -> dict[str, Any]:
        return {
            "model": f"openai/{model}",
            "messages": MESSAGES,
            "api_base": f"{self.url}/v1",
            "api_key": "bench",
            "num_retries": 0,
        }

    async def call(self, model: str) -> None:
        answer = await self._litellm.acompletion(**self._asked(model))
        _check(answer.choices[0].message.content)

    async def stream(self, model: str, events: int, on_delta: bool) -> None:
        text = []
        async for event in await self._litellm.acompletion(**self._asked(model), stream=True):
            if event.choices:
                text.append(event.choices[0].delta.content or "")
        _check_stream("".join(text), events)


class PydanticAI(Client):
    loop = "asyncio"

    async def open(self) -> None:
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        self._provider = OpenAIProvider(base_url=f"{self.url}/v1", api_key="bench")
        self._agents: dict[str, Any] = {}
        self._agent_of = lambda model: Agent(OpenAIChatModel(model, provider=self._provider))

    async def call(self, model: str) -> None:
        agent = self._agents.get(model) or self._agents.setdefault(model, self._agent_of(model))
        _check((await agent.run(PROMPT)).output)

    async def stream(self, model: str, events: int, on_delta: bool) -> None:
        agent = self._agents.get(model) or self._agents.setdefault(model, self._agent_of(model))
        async with agent.run_stream(PROMPT) as answer:
            text = [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]
        _check_stream("".join(text), events)


CLIENTS: dict[str, type[Client]] = {
    "luahost": Luahost,
    "luahost-shared": LuahostShared,
    "raw": Raw,
    "httpx": Httpx,
    "openai": OpenAI,
    "anthropic": Anthropic,
    "litellm": LiteLLM,
    "pydantic-ai": PydanticAI,
}
PEERS = ("openai", "anthropic", "litellm", "pydantic-ai")


# ── the conversation ────────────────────────────────────────────────────────────────────────────────────


def tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=_ours, flush=True)


async def obey(client: Client, command: dict[str, Any]) -> dict[str, Any]:
    verb = command.pop("do")
    if verb == "first":
        return {"took_s": await client.first(**command)}  # type: ignore[attr-defined]
    if verb == "agents":
        return await client.agents(**command, tell=tell)  # type: ignore[attr-defined]
    if isinstance(client, Luahost):
        await client.prepare(command)
    cap_s = command.pop("cap_s", 120.0)
    act = client.calls if verb == "calls" else client.streams
    if command.pop("warm", False):  # while others had their turn, idle connections may have run out
        await act(**command | {"calls": command["at_once"]})
    gc.collect()
    workers = client.workers()
    worker_s, host_s, began = cpu_of_all(workers), time.process_time(), time.perf_counter()
    errors: list[str] | None = None
    if client.loop == "trio":
        import trio

        with trio.move_on_after(cap_s):
            errors = await act(**command)
    else:
        try:
            errors = await asyncio.wait_for(act(**command), cap_s)
        except TimeoutError:
            errors = None
    return {
        "ended": errors is not None,
        "wall_s": time.perf_counter() - began,
        "host_s": time.process_time() - host_s,
        "worker_s": cpu_of_all(workers) - worker_s,
        "batches": client.batches,
        "errors": len(errors or ()),
        "error": errors[0] if errors else None,
    }


async def converse(client: Client) -> None:
    try:
        await client.open()
    except ImportError as error:
        tell({"missing": str(error)})
        return
    tell({"ready": True})
    if client.loop == "trio":
        import trio

        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            tell(await obey(client, json.loads(line)))
    else:
        while line := await asyncio.to_thread(sys.stdin.readline):
            tell(await obey(client, json.loads(line)))
    await client.close()


if __name__ == "__main__":
    _ours = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    raise_descriptors()
    contestant = CLIENTS[sys.argv[1]](sys.argv[2])
    if contestant.loop == "trio":
        import trio

        trio.run(converse, contestant)
    else:
        asyncio.run(converse(contestant))
