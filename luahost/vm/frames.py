"""Frames: the bytes between host and worker, cut and joined. Both programs read this file.

    frame    length u32 │ kind u8 │ vm u32 │ payload       length counts what follows it

What a payload says is protocol.py's; a worker only carries it between the host and its VMs. Pure; imports nothing
that is large, as every worker has it in its memory.
"""

from __future__ import annotations

import struct

OPEN, STEP, CLOSE = 1, 2, 3  # host → worker
STEPPED, OUTPUT = 4, 5  # worker → host

_FRAME = struct.Struct("<IBI")
FRAME_HEAD = _FRAME.size
LARGEST = 0xFFFFFFFF
FRAME_SPARE = 1 << 20
"""A frame may be this much longer than the largest value: heads, several wants in one step."""


class FrameError(Exception):
    """The other side sent bytes that are no frame."""


def frame(kind: int, vm: int, payload: bytes) -> bytes:
    """One frame, ready to send."""
    return _FRAME.pack(len(payload) + 5, kind, vm) + payload


class FrameReader:
    """Cuts a byte stream into frames: feed bytes, get (kind, vm, payload) of each that is whole."""

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self.max_bytes = max_bytes

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        buffer = self._buffer
        buffer += data
        frames = []
        at, size = 0, len(buffer)
        while size - at >= FRAME_HEAD:
            length, kind, vm = _FRAME.unpack_from(buffer, at)
            if not 5 <= length <= self.max_bytes:
                raise FrameError(f"a frame of {length} bytes, where at most {self.max_bytes} may come")
            end = at + 4 + length
            if end > size:
                break
            with memoryview(buffer) as view:  # one copy, not two: it may be 8 MB
                frames.append((kind, vm, bytes(view[at + FRAME_HEAD : end])))
            at = end
        if at:
            del buffer[:at]
        return frames


# ── what a worker says and hears for itself ─────────────────────────────────────────────────────────────

_OPEN = struct.Struct("<qdqqqq")


class OpenVM:
    """The first word to a VM: its limits and its random seed."""

    def __init__(  # noqa: PLR0917 - their order is that of the bytes
        self, memory_bytes: int, cpu_s: float, output_bytes: int, value_bytes: int, seed_a: int, seed_b: int
    ) -> None:
        self.memory_bytes, self.cpu_s = memory_bytes, cpu_s
        self._packed = _OPEN.pack(memory_bytes, cpu_s, output_bytes, value_bytes, seed_a, seed_b)

    def pack(self) -> bytes:
        return self._packed

    @classmethod
    def unpack(cls, data: bytes) -> OpenVM:
        return cls(*_OPEN.unpack(data))


def broken(task: int, kind: bytes, message: bytes) -> bytes:
    """The wants of a VM that can no longer speak for itself: Failed, and Stats of nothing (protocol.py)."""
    texts = b"".join(b"\xc6" + struct.pack(">I", len(text)) + text for text in (kind, message, b"", b"", b""))
    # Two lists: the first of 7, its tag and the task; the other of 5.
    return b"\x92\x97\x03\xd3" + struct.pack(">q", task) + texts + b"\x95\x04\0\0\0\0"
