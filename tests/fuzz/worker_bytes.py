"""What a worker that was taken over may send: frames and values. No exception but FrameError, and nothing is built
that is larger than a value may be. And the codec in the VM against msgspec, both ways."""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import Any

import msgspec
from mutating import ByteTarget, cuts_of, pieces

from luahost.values import Limits
from luahost.vm import frames, protocol
from luahost.vm.machine import Machine, opened

pack = msgspec.msgpack.encode
STATS = [4, 1, 2, 3, 4]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 127, 128, -32, -33, 255, 65536, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)),
    *(0.5, -0.0, 1e308, 5e-324, "", "a", "é" * 20, "\0", "x" * 40, "x" * 300, b"\xff\xfe", [], {}, [[]], [{}]),
    *([1, 2, 3], {"a": 1, "b": [None]}, {"": {}}, [None] * 20, {"k" * 40: "v" * 40}, [[1, [2, [3, {"x": [4.5]}]]]]),
]
MAX_FRAME = 1 << 20


def frame_seeds() -> list[bytes]:
    lists = [
        [STATS],
        [[0, 1, 1, b"llm", {"prompt": "x"}], STATS],
        [[1, 1, True], STATS],
        [[2, 1, {"ok": True}], STATS],
        [[3, 1, b"script_error", b"m", b"a:1", b"t", b""], STATS],
        [*([0, n, n, b"caps", None] for n in range(20)), STATS],
    ]
    made = [frames.frame(frames.STEPPED, 1, pack(wants)) for wants in lists]
    made.append(frames.frame(frames.OUTPUT, 1, b"print\0hello"))
    return [*made, b"".join(made), made[0] * 50]


def check_frames(data: bytes) -> None:
    """Cut or whole, the same frames and the same end."""
    whole, cut = _read([data]), _read(pieces(data, cuts_of(data)))
    # What came before a broken frame is only seen when it came in an earlier piece.
    assert whole == cut or (whole[1] and cut[1] and cut[0][: len(whole[0])] == whole[0]), "a cut changes the frames"
    for kind, _, payload in cut[0]:
        if kind == frames.STEPPED:
            check_wants(payload)


def _read(parts: list[bytes]) -> tuple[list[tuple[int, int, bytes]], bool]:
    reader, got = frames.FrameReader(MAX_FRAME), []
    try:
        for part in parts:
            got += reader.feed(part)
    except frames.FrameError:
        return got, True
    return got, False


def check_wants(payload: bytes) -> None:
    try:
        wants = protocol.decode_wants(payload)
    except frames.FrameError as error:
        _is_short(error)
        return
    for want in wants:
        if isinstance(want, protocol.Done):
            check_value(bytes(want.value))
        elif isinstance(want, protocol.Call):
            check_value(bytes(want.args))


def _is_short(error: Exception) -> None:
    assert len(str(error)) < 1000, "a long error"


def check_value(data: bytes) -> None:
    try:
        value = protocol.decode(data)
    except frames.FrameError as error:
        _is_short(error)
        return
    assert _is_value(value), f"a {type(value).__name__}"
    assert protocol.decode(protocol.encode(value)) == value, "a value that changes"


def _is_value(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) in (str, bytes) and _is_value(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_is_value, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or type(value) in (bool, int, str, bytes)


@cache
def _echo() -> Machine:
    machine = opened(Limits(cpu_s=5.0, memory_bytes=64 << 20))
    machine.load(b"return {on_request = function(r) return {data = r.payload, success = true} end}")
    return machine


def check_codec(data: bytes) -> None:
    """What the VM reads and writes is what msgspec reads and writes; what is no value, it survives."""
    head = struct.pack("<Bdq", protocol.START, 0.0, 2) + bytes([7]) + b"request"
    request = b"\x82\xa9operation\xa1x\xa7payload" + data
    wants = protocol.decode_wants(_echo().step(head + request))
    kinds = [type(want).__name__ for want in wants]
    assert kinds in (["Done", "Stats"], ["Failed", "Stats"]), f"the VM answered {kinds}"
    try:
        expected = protocol.decode(request)["payload"]
    except (frames.FrameError, KeyError):
        return
    if isinstance(wants[0], protocol.Done) and len(data) < 4096:
        got = protocol.decode(wants[0].value)
        got = got.get("data") if isinstance(got, dict) else got
        assert _same(expected, got), f"{expected!r} came back as {got!r}"
    elif isinstance(wants[0], protocol.Failed):
        assert wants[0].kind not in (b"broken", b"killed"), f"the VM broke: {wants[0].message!r}"
        if wants[0].kind in (b"cpu", b"memory"):
            _echo.cache_clear()


def _same(a: Any, b: Any) -> bool:
    """Lua has one table for list and map: an empty one may come back as either, and nils at the end may go."""
    if a in ([], {}) and b in ([], {}):
        return True
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = ({_text(k): v for k, v in each.items() if v is not None} for each in (a, b))
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, bytes | str) and isinstance(b, bytes | str):
        return _text(a) == _text(b)
    return type(a) is type(b) and (a == b)


def _text(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


HEADS = [bytes([byte]) for byte in range(0x80, 0x100)] + [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\0\1\0\0",
    b"\xc6\x7f\xff\xff\xff",
]


def value_seeds() -> list[bytes]:
    return [pack(value) for value in VALUES]


fuzz_frames = ByteTarget(check_frames, frame_seeds, HEADS)
fuzz_values = ByteTarget(check_value, value_seeds, HEADS)
fuzz_codec = ByteTarget(check_codec, value_seeds, HEADS)
