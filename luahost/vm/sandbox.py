"""A sealed Lua VM: the trusted files run, the sandbox closes, and three functions are left.

All of lupa's holes (../SANDBOX.md of the research: exceptions as Lua values, Python objects as userdata,
unprotected pushes, bytecode) are closed by one rule: only bytes and integers cross, either way.
`lupa` is imported here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import lupa.lua54 as lupa

from luahost.vm.sources import BOOT, PARTS, source

PREPARE_BYTES = 256 * 1024 * 1024
"""Heap limit while booting; the script's own limit is set by open()."""

_COMPILE = b"""
local text, name = ...
local f, message = load(text, "=[luahost]", "t")
if not f then error(name .. ": " .. message, 0) end
return string.dump(f, true)
"""

_LOADER = b"""
local K, load = { real_globals = _G }, load
K.post, K.fetch = ...
return function(code) return load(code, "=[luahost]", "b")(K) end
"""


@cache
def _code() -> dict[str, bytes]:
    """The trusted files, compiled once per process and stripped: a VM boots in a sixth of the time.

    The only bytecode there is: made here, from our own text. Scripts can neither make nor load any.
    """
    compiler = lupa.LuaRuntime(encoding=None)
    return {name: compiler.execute(_COMPILE, source(name), name.encode(), mode="t") for name in (*BOOT, *PARTS)}


def _deny(*_: object) -> object:
    raise AttributeError("not accessible")


class Sandbox:
    """One VM. `post(kind, text)` is called for each piece of output; it must not raise."""

    def __init__(self, post: Callable[[bytes, bytes], None]) -> None:
        self._lua = lupa.LuaRuntime(
            encoding=None,
            attribute_handlers=(_deny, _deny),
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            max_memory=PREPARE_BYTES,
        )

        def hostcall(*args: object) -> int:
            # Never raises, never re-enters, returns an integer: nothing here can push onto a full heap.
            try:
                kind, text = args
                if isinstance(kind, bytes) and isinstance(text, bytes):
                    post(kind, text)
            except BaseException:  # a Python exception would become a Lua value
                return -1
            return 0

        def fetch(*args: object) -> bytes | int:
            # As hostcall; and the bytes it returns fit, for a push that fails here would never give the GIL back.
            try:
                code = _code()[args[0].decode()]  # type: ignore[attr-defined]
                return code if self._fits(len(code)) else -2
            except BaseException:
                return -1

        loader = self._lua.execute(_LOADER, hostcall, fetch, mode="t")
        results = [loader(_code()[name]) for name in BOOT]
        self._step, self._open, self._collect = results[-1]

    def open(self, message: bytes, memory_bytes: int) -> None:
        """Sets the limits and the random seed, before the first script."""
        self._lua.set_max_memory(memory_bytes)
        self._open(message)

    def has_room_for(self, size: int) -> bool:
        """Whether `size` bytes can be pushed: a push that fails outside a protected call aborts the process."""
        if self._fits(size):
            return True
        self._collect()
        return self._fits(size)

    def _fits(self, size: int) -> bool:
        return bool(self._lua.get_memory_used() + 2 * size + 64 * 1024 <= self._lua.get_max_memory())

    def step(self, message: bytes, took_s: float | None) -> bytes:
        """One message in, wants out. Raises MemoryError or RuntimeError when the VM broke; it is dead then.

        `took_s`: as in Stepper.step.
        """
        try:
            result = self._step(message, took_s)
        except lupa.LuaMemoryError as error:
            raise MemoryError(str(error)) from None
        except lupa.LuaError as error:
            raise RuntimeError(str(error)[:500]) from None
        if not isinstance(result, bytes):
            raise RuntimeError("the VM's step answered something other than bytes")  # noqa: TRY004
        return result
