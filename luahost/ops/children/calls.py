"""What a script does with its children: send, run, ask, signal, cancel, revoke, close, look.

None of these needs a grant: who has a child may speak to it. They reach what is below the script and nothing else
(family.found). A child that was told to `run` is over when it has; one that is sent to stays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import trio

from luahost.errors import ConfigError, LuahostError, Stopped
from luahost.gate.constraints import KINDS
from luahost.ops import results
from luahost.ops.children.family import Program, found, remembered
from luahost.ops.children.spawning import failed, most_children, outcome
from luahost.ops.results import Result
from luahost.ops.world import Share
from luahost.values import Value, nearest

REQUEST_S = 30.0
"""What orcs.request waits when it is not told."""
MAX_BATCH = 1000


class ChildArgs(msgspec.Struct, frozen=True):
    id: str


class MessageArgs(msgspec.Struct, frozen=True):
    id: str
    message: Any = None


class BatchArgs(msgspec.Struct, frozen=True):
    ids: list[str]
    inputs: list[Any]


class TicketOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timeout: float | None = None  # seconds


class TicketArgs(msgspec.Struct, frozen=True):
    ticket: str
    opts: TicketOptions = TicketOptions()


class SignalArgs(msgspec.Struct, frozen=True):
    id: str
    kind: str
    reason: str | None = None


class RevokeArgs(msgspec.Struct, frozen=True):
    id: str
    kind: str


class RequestOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timeout_ms: float = REQUEST_S * 1000


class RequestArgs(msgspec.Struct, frozen=True):
    target: str
    operation: str
    payload: Any = None
    opts: RequestOptions = RequestOptions()


class BatchedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: str
    operation: str
    payload: Any = None
    timeout_ms: float = REQUEST_S * 1000


class RequestBatchArgs(msgspec.Struct, frozen=True):
    requests: list[BatchedRequest]


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────


async def send(share: Share, args: MessageArgs) -> Result:
    """{ok, result}: what the child's run (or on_request) made of the message."""
    return await _send(share, args.id, args.message)


async def _send(share: Share, address: str, message: Value) -> Result:
    child = found(share.program, address)
    if child is None:
        return _nobody(address)
    return await _result(child, child.run(message))


async def run(share: Share, args: MessageArgs) -> Result:
    """As send; then the child is over, however it went, and its id and its place are free."""
    child = found(share.program, args.id)
    if child is None:
        return _nobody(args.id)
    try:
        value = await child.run(args.message)
    except ConfigError as error:  # the message was none: the child has not heard of it
        return results.error("invalid_input", error.message)
    except LuahostError as error:
        await child.end(error)
        return failed(child.name, error)
    except BaseException:
        await child.end(Stopped("its parent no longer waits for it", kind="aborted"))
        raise
    await child.close()
    return outcome(value)


async def batch(share: Share, args: BatchArgs) -> list[Result] | Result:
    """Sends each input to the child beside it, all at once; the results in that order."""
    if len(args.ids) != len(args.inputs):
        return results.invalid(
            "inputs", f"{len(args.ids)} inputs expected, one for each id, got {len(args.inputs)}"
        )
    if len(args.ids) > MAX_BATCH:
        return results.invalid("ids", f"at most {MAX_BATCH} expected, got {len(args.ids)}")
    pairs = zip(args.ids, args.inputs, strict=True)
    return await _all(share, [partial(_send, share, address, message) for address, message in pairs])


async def _all(share: Share, works: list[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """All at once, in order. Together they may be as large as one value: what comes later is too large then."""
    answers: list[Result] = [{}] * len(works)
    left = share.program.limits.value_bytes

    async def work(at: int, ask: Callable[[], Awaitable[Result]]) -> None:
        nonlocal left
        answer = await ask()
        left -= len(msgspec.msgpack.encode(answer))
        answers[at] = answer if left >= 0 else results.error("too_large", "the results together are too large")

    async with trio.open_nursery() as nursery:
        for at, each in enumerate(works):
            nursery.start_soon(work, at, each)
    return answers


def send_async(share: Share, args: MessageArgs) -> Result:
    """{ok, ticket}, at once."""
    child = found(share.program, args.id)
    if child is None:
        return _nobody(args.id)
    ticket = share.tickets.start(lambda: _result(child, child.run(args.message)))
    if ticket is None:
        return results.error("queue_full", "too many messages are under way", retryable=True)
    return {"ok": True, "ticket": ticket}


async def result(share: Share, args: TicketArgs) -> Result:
    """What came of an asynchronous message, once; waits for it."""
    wait_s = args.opts.timeout
    if wait_s is not None and not 0 <= wait_s < 1e9:
        return results.invalid("timeout", "seconds from 0 on expected")
    answer: Result | None = None
    with trio.move_on_after(1e9 if wait_s is None else wait_s) as waited:
        answer = await share.tickets.take(args.ticket)
    if waited.cancelled_caught:
        return results.error("timeout", f"no result within {wait_s:g} s; ask again", retryable=True)
    return answer or results.error("child_not_found", f"no result for ticket {args.ticket[:80]!r}")


async def _result(child: Program, work: Awaitable[Value]) -> Result:
    try:
        return outcome(await work)
    except ConfigError as error:
        return results.error("invalid_input", error.message, child=child.name)
    except LuahostError as error:
        return failed(child.name, error)


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────


async def request(share: Share, args: RequestArgs) -> Result:
    """{success, data} of the target's on_request{operation, payload}."""
    return await _request(share, args.target, args.operation, args.payload, args.opts.timeout_ms)


async def request_batch(share: Share, args: RequestBatchArgs) -> list[Result] | Result:
    if len(args.requests) > MAX_BATCH:
        return results.invalid("requests", f"at most {MAX_BATCH} expected, got {len(args.requests)}")
    return await _all(
        share,
        [
            partial(_request, share, each.target, each.operation, each.payload, each.timeout_ms)
            for each in args.requests
        ],
    )


async def _request(share: Share, target: str, operation: str, payload: Value, timeout_ms: float) -> Result:
    if not 0 < timeout_ms < 1e12:
        return _unsuccessful(results.invalid("timeout_ms", "milliseconds above 0 expected"))
    child = found(share.program, target)
    if child is None:
        return _unsuccessful(_nobody(target))
    answer: Result | None = None
    with trio.move_on_after(timeout_ms / 1000):
        answer = await _result(child, child.request(operation, payload))
    if answer is None:
        message = f"{target[:200]} did not answer {operation[:80]!r} within {timeout_ms:g} ms"
        return _unsuccessful(results.error("timeout", message, retryable=True, child=child.name))
    if answer["ok"]:
        return {"ok": True, "success": True, "data": answer["result"]}
    return _unsuccessful(answer)


def _unsuccessful(no: Result) -> Result:
    return {"success": False, **no}


# ── the rest of its life ────────────────────────────────────────────────────────────────────────────────


async def signal(share: Share, args: SignalArgs) -> Result:
    """{ok, answer}: Handled, Ignored or Abort."""
    child = found(share.program, args.id)
    if child is None:
        return _nobody(args.id)
    try:
        return {"ok": True, "answer": await child.signal(args.kind, args.reason)}
    except ConfigError as error:
        return results.invalid("kind", error.message)
    except LuahostError as error:
        return failed(child.name, error)


async def snapshot(share: Share, args: ChildArgs) -> Result:
    child = found(share.program, args.id)
    return _nobody(args.id) if child is None else await _result(child, child.snapshot())


async def cancel(share: Share, args: ChildArgs) -> Result:
    """Ends the child now, whatever it is doing."""
    child = found(share.program, args.id)
    if child is None:
        return _nobody(args.id)
    await child.cancel()
    return {"ok": True}


async def close(share: Share, args: ChildArgs) -> Result:
    """Ends the child in order: its shutdown() is called."""
    child = found(share.program, args.id)
    if child is None:
        return _nobody(args.id)
    await child.close()
    return {"ok": True}


def revoke(share: Share, args: RevokeArgs) -> Result:
    """Takes a kind from the child and all below it, for good, and ends what they do with it."""
    child = found(share.program, args.id)
    if child is None:
        return _nobody(args.id)
    if args.kind not in KINDS:
        return results.invalid("kind", f"one of {', '.join(KINDS)} expected{nearest(args.kind, KINDS)}")
    child.revoke(args.kind)
    return {"ok": True}


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────


def status(share: Share, args: ChildArgs) -> Result:
    """{ok, status}; of one that has ended too."""
    stands = remembered(share.program, args.id)
    return _nobody(args.id) if stands is None else {"ok": True, "status": stands.status}


def usage(share: Share, args: ChildArgs) -> Result:
    stands = remembered(share.program, args.id)
    return _nobody(args.id) if stands is None else {"ok": True, **stands.plain()}


def listed(share: Share, args: None) -> list[dict[str, str]]:
    """The living children, oldest first."""
    return [{"id": id, "status": child.standing().status} for id, child in share.program.children.items()]


def counted(share: Share, args: None) -> dict[str, int]:
    return {"count": len(share.program.children), "max": most_children(share)}


def _nobody(address: str) -> Result:
    return results.error("child_not_found", f"there is no child {address[:200]!r} below this script")
