"""Time for scripts: now and sleep. Ungated; a sleep ends with the run."""

from __future__ import annotations

import trio

from luahost.ops.world import Share


def now(share: Share, args: None) -> float:
    return share.world.now_s()


async def sleep(share: Share, seconds: float) -> None:
    await trio.sleep(seconds)
