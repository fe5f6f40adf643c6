"""Compression undone as httpx undoes it, but a little at a time.

The idea: a bomb must meet the cap before it fills the memory. So `Decoder.feed` is given slices so short that no
slice of any coding can become more than some megabytes: gzip makes a thousand bytes of one, a block of zstd 128 KB
of four, brotli 16 MB of a handful. Brotli and Zstandard only where their libraries are installed, as with httpx;
a coding nobody knows is left as it is. Knows no response and no cap.
"""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import Any, Protocol

MAX_CODINGS = 2
_SLICE_BYTES = {"gzip": 4096, "deflate": 4096, "zstd": 256}
_OTHER_SLICE_BYTES = 16


class Undecodable(Exception):
    """The bytes are not what their coding says."""


class _Coding(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class _Zlib:
    """gzip and deflate; deflate with zlib's header, as it should be, or without, as some send it."""

    def __init__(self, wbits: int | None) -> None:
        self._undo = zlib.decompressobj(wbits) if wbits is not None else None
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        if self._undo is None:
            self._start = data = self._start + data
            if len(data) < 2:
                return b""
            has_header = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._undo = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        if self._undo.eof:
            return b""  # what follows is dropped, not kept
        try:
            return self._undo.decompress(data)
        except zlib.error as error:
            raise Undecodable(str(error)) from None

    def finish(self) -> bytes:
        return self._undo.flush() if self._undo is not None else b""


class _Brotli:
    def __init__(self, library: Any) -> None:
        self._library, self._undo = library, library.Decompressor()

    def feed(self, data: bytes) -> bytes:
        try:
            return bytes(self._undo.process(data))
        except self._library.error as error:
            raise Undecodable(str(error)) from None

    def finish(self) -> bytes:
        return b""


class _Zstandard:
    def __init__(self, library: Any) -> None:
        self._library, self._undo = library, library.ZstdDecompressor().decompressobj()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        out = b""
        try:
            while data:
                if self._undo.eof:  # another frame
                    self._undo = self._library.ZstdDecompressor().decompressobj()
                self._begun = True
                out += self._undo.decompress(data)
                data = self._undo.unused_data if self._undo.eof else b""
        except self._library.ZstdError as error:
            raise Undecodable(str(error)) from None
        return out

    def finish(self) -> bytes:
        if self._begun and not self._undo.eof:
            raise Undecodable("the end is missing")
        return b""


class Decoder:
    """Undoes the codings of one body, the last one first. Feed it slices of at most `slice_bytes`."""

    def __init__(self, codings: list[tuple[str, _Coding]]) -> None:
        self._codings = [coding for _, coding in reversed(codings)]
        self.slice_bytes = _SLICE_BYTES.get(codings[0][0], 0) if len(codings) == 1 else 0
        self.slice_bytes = self.slice_bytes or _OTHER_SLICE_BYTES

    def feed(self, data: bytes) -> bytes:
        for coding in self._codings:
            data = coding.feed(data)
        return data

    def finish(self) -> bytes:
        data = b""
        for coding in self._codings:
            data = coding.feed(data) + coding.finish() if data else coding.finish()
        return data


def decoder(content_encoding: str) -> Decoder | None:
    """For this header; None where nothing is to be undone. Undecodable for more codings than anybody needs."""
    codings = [(name, made) for name in _names(content_encoding) if (made := _coding(name)) is not None]
    if len(codings) > MAX_CODINGS:
        raise Undecodable(f"compressed more than {MAX_CODINGS} times")
    return Decoder(codings) if codings else None


def _names(content_encoding: str) -> list[str]:
    return [name.strip().lower() for name in content_encoding.split(",")]


def _coding(name: str) -> _Coding | None:
    try:
        match name:
            case "gzip":
                return _Zlib(zlib.MAX_WBITS | 16)
            case "deflate":
                return _Zlib(None)
            case "br":
                return _Brotli(import_module("brotli"))
            case "zstd":
                return _Zstandard(import_module("zstandard"))
    except ImportError:  # its library is not installed
        pass
    return None
