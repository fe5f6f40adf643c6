"""What host and VM say to each other: written and checked here, by the host. lua/boot/tasks.lua is the other end.

A *message* is what one VM is told, and *wants* is what it answers:

    message  verb u8 │ clock f64 │ id i64 │ payload        little endian
    wants    MessagePack list of tagged lists, the last of them Stats

Whatever comes from a worker is checked against these types: a worker may have been taken over.
Pure; knows no socket and no lupa.
"""

from __future__ import annotations

import gc
import struct
from itertools import chain
from math import isfinite
from typing import Annotated, Any, NamedTuple

import msgspec

from luahost.parts import Parts, at_once
from luahost.values import MAX_DEPTH, Value
from luahost.vm.frames import FrameError
from luahost.vm.items import holds_more

LONG = 64 * 1024
"""Bytes from which on reading a value may take longer than a turn."""
LARGE = 16 * 1024
"""Bytes from which on a look at what is inside costs less than what it may bring."""


MAX_NODES = 70_000
"""A value has at most so many, keys included (lua/boot/raw.lua): building it keeps the event loop waiting."""

MAX_STEP_NODES = 300_000
"""All that a step says has at most so many: one value, or what lua/boot/calls.lua lets go together."""


# ── what a VM is told ───────────────────────────────────────────────────────────────────────────────────

START, REPLY, EVENTS, CANCEL, GO_ON = 1, 2, 3, 4, 5

_MESSAGE = struct.Struct("<Bdq")
_encode = msgspec.msgpack.Encoder().encode


def start(task: int, entry: str, arg: Value, now_s: float) -> bytes:
    """Begin task `task` at an entry of the script (load, run, request, handler)."""
    name = entry.encode()
    return _MESSAGE.pack(START, now_s, task) + bytes([len(name)]) + name + encode(arg)


def reply(call: int, payload: bytes, now_s: float) -> bytes:
    """The one answer to call `call`, an encoded value."""
    return _MESSAGE.pack(REPLY, now_s, call) + payload


def events(call: int, payload: bytes, now_s: float) -> bytes:
    """A batch of a streamed answer's texts; the VM acknowledges each batch with an Ack."""
    return _MESSAGE.pack(EVENTS, now_s, call) + payload


def cancel(task: int, now_s: float) -> bytes:
    """Forget task `task`: its coroutine is closed, its open call will not be answered."""
    return _MESSAGE.pack(CANCEL, now_s, task)


def go_on(now_s: float) -> bytes:
    """The answer to More."""
    return _MESSAGE.pack(GO_ON, now_s, 0)


def encode(value: Value) -> bytes:
    """A value as bytes; TypeError or ValueError when it is none."""
    return _encode(value)


# ── what a VM wants ─────────────────────────────────────────────────────────────────────────────────────


MAX_OPEN_CALLS = 1000
"""Calls one VM may have under way (lua/boot/calls.lua keeps to it); a worker that sends more is lying."""

MAX_WANTS = 4 * MAX_OPEN_CALLS
"""A step ends or makes at most all of its calls, and tells the end of each task. The length of the list is looked
at before anything is built."""

Number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Lua's integers; MessagePack has larger ones."""


class Call(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Task `task` asks for operation `op`; `args` is an encoded value. Answer with reply(id, …)."""

    task: Number
    id: Number
    op: bytes
    args: msgspec.Raw


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The last batch of events of call `id` was taken; `go_on` is False to end the stream."""

    id: Number
    go_on: bool


class Done(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Task `task` returned; `value` is encoded."""

    task: Number
    value: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Task `task` ended with an error. `kind`: script_error, invalid_result, or the limit: cpu, memory."""

    task: Number
    kind: bytes
    message: bytes
    where: bytes
    traceback: bytes
    error_kind: bytes


class Stats(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """What the step used: CPU in µs; the heap now, and output so far, in bytes."""

    cpu_us: Number
    memory_bytes: Number
    output_bytes: Number
    dropped_bytes: Number


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The strand that waited for call `id` was ended by its task: end the call, nobody hears its answer."""

    id: Number


class More(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """There are calls that did not fit in this step; the next, go_on() if nothing else, brings them."""


class Returned(NamedTuple):
    """A Done whose value has been read; it was `size` bytes long."""

    task: int
    value: Value
    size: int


Want = Call | Ack | Done | Failed | Stats | Drop | More

_wants = msgspec.msgpack.Decoder(Annotated[list[Want], msgspec.Meta(max_length=MAX_WANTS)])
_value = msgspec.msgpack.Decoder(Any)


def returned(done: Done) -> Parts[Returned]:
    """Reads the value; FrameError when it is none."""
    return Returned(done.task, (yield from reading(done.value)), memoryview(done.value).nbytes)


def decode_wants(data: bytes) -> list[Want]:
    """The wants of one step; FrameError when the bytes are no such list."""
    return at_once(reading_wants(data))


def reading_wants(data: bytes) -> Parts[list[Want]]:
    """As decode_wants."""
    if len(data) > MAX_STEP_NODES and (yield from holds_more(data, MAX_STEP_NODES)):
        raise FrameError(f"a step's answer of more than {MAX_STEP_NODES} items")
    try:
        wants: list[Want] = _wants.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FrameError(f"a step's answer that is none: {error}") from None
    if len(data) > LARGE and len(wants) > 2:
        wants = [_on_its_own(want) if isinstance(want, Call) else want for want in wants]
    return wants


def _on_its_own(call: Call) -> Call:
    """The call without the frame it came in: it may be under way for long, and the frame be large."""
    return Call(call.task, call.id, call.op, call.args.copy())


def decode(data: bytes | msgspec.Raw) -> Value:
    """An encoded value; FrameError when it is none. Valid UTF-8 comes as str, other texts as bytes."""
    return at_once(reading(data))


def reading(data: bytes | msgspec.Raw) -> Parts[Value]:
    """As decode. A byte may stand for an object of 64: what may hold more than a value has is counted first."""
    data = bytes(data)
    if len(data) > LARGE and data[0] not in _TEXTS:
        if (yield from holds_more(data, MAX_NODES + 1000)):
            raise FrameError(f"a value of more than {MAX_NODES} items")
        yield
    value = _built(data)
    if len(data) > LARGE:
        yield
    yield from _check(value)
    return value


def _built(data: bytes) -> Any:
    collects = len(data) > LARGE and gc.isenabled()
    if collects:
        gc.disable()  # all that is made here is held: looking for what is not takes longer than making it
    try:
        return _value.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameError(f"a value that is none: {error}") from None
    finally:
        if collects:
            gc.enable()


_TEXTS = b"\xc4\xc5\xc6\xd9\xda\xdb"  # heads of one object, however long
_LEAVES = frozenset((str, bool, bytes, int, float, type(None)))
_KEYS = frozenset((str, bytes))


def _check(value: Any) -> Parts[None]:
    """FrameError when it is no value: MessagePack also has times, extensions, odd keys, larger numbers, any depth.

    Level by level, and each level by C as a whole.
    """
    count, depth, level = 0, 0, [value]
    while level:
        count += len(level)
        if count > MAX_NODES + 1000:
            raise FrameError(f"a value of more than {MAX_NODES} items")
        if depth > MAX_DEPTH:
            raise FrameError(f"a value nested more than {MAX_DEPTH} deep")
        depth += 1
        types = set(map(type, level))
        for odd in types - _LEAVES - {dict, list}:
            raise FrameError(f"a value with a {odd.__name__} in it")
        if int in types and not _all_int64(level if len(types) == 1 else [n for n in level if type(n) is int]):
            raise FrameError("a value with a whole number of more than 64 bits")
        if float in types and not all(map(isfinite, level if len(types) == 1 else _floats(level))):
            raise FrameError("a value with a number that is not finite")
        below: list[Value] = []
        if dict in types:
            dicts = [each for each in level if type(each) is dict]
            if not set(map(type, chain.from_iterable(dicts))) <= _KEYS:
                raise FrameError("a value with a key that is no text")
            count += sum(map(len, dicts))
            below += chain.from_iterable(map(dict.values, dicts))
        if list in types:
            below += chain.from_iterable([each for each in level if type(each) is list])
        if len(level) + len(below) > LARGE:
            yield
        level = below


def _all_int64(numbers: list[Any]) -> bool:
    return bool(min(numbers) >= -(1 << 63) and max(numbers) < 1 << 63)


def _floats(level: list[Any]) -> list[float]:
    return [each for each in level if type(each) is float]
