"""orcs.sandbox_eval(code): what Lua text comes to in a VM of its own that holds nothing, and is gone afterwards.

No grant, no directory, no session, a small heap, a moment of CPU. It shares no table with the VM that asks, so it
can poison nothing. It cannot evaluate in its turn. orcs.uuid, which is drawn from the host's numbers, is here too.
"""

from __future__ import annotations

import uuid

import msgspec

from luahost.errors import LuahostError
from luahost.ops import results
from luahost.ops.results import Result
from luahost.ops.world import Share
from luahost.values import Limits, Source

MAX_CODE_BYTES = 64 * 1024
OUTPUT_BYTES = 32 * 1024
CPU_S = 0.1
"""In place of the upstream's 1,000,000 instructions, which take a fifth of that."""
WALL_S = 2.0
MEMORY_BYTES = 16 * 1024 * 1024

_RUN = Source(
    """return function(code)
  local f, why = load(code, "=(eval)")
  if not f then error(why, 0) end
  return f()
end""",
    "eval",
)


class CodeArgs(msgspec.Struct, frozen=True):
    code: str


async def sandbox_eval(share: Share, args: CodeArgs) -> Result:
    """{ok, output, result?, error?}"""
    if share.evaluates:
        return {**results.error("not_supported", "code that is evaluated cannot evaluate"), "output": ""}
    if len(args.code) > MAX_CODE_BYTES:
        return {**results.error("too_large", f"at most {MAX_CODE_BYTES} bytes of Lua expected"), "output": ""}

    async def work() -> tuple[Result, float]:
        said: list[str] = []
        limits = _limits(share.program.limits)
        async with share.world.evaluators:
            value, error, cpu_s = await share.program.evaluate(_RUN, args.code, limits, said.append)
        output = "".join(said)
        if error is not None:
            return {**_failed(error), "output": output}, cpu_s
        return {"ok": True, "output": output} | ({} if value is None else {"result": value}), cpu_s

    return await share.lane.run(work)


def _limits(mine: Limits) -> Limits:
    return Limits(
        memory_bytes=min(MEMORY_BYTES, mine.memory_bytes),
        cpu_s=min(CPU_S, mine.cpu_s),
        wall_s=WALL_S,
        output_bytes=OUTPUT_BYTES,
        value_bytes=min(1 << 20, mine.value_bytes),
    )


def _failed(error: LuahostError) -> Result:
    return results.error(error.kind, error.message, limit=getattr(error, "limit", None))


def new_uuid(share: Share, args: None) -> str:
    """A random one (RFC 9562, version 4). Unique, and no secret: who knows enough of them can tell the next."""
    return str(uuid.UUID(int=share.world.rng.getrandbits(128), version=4))
