"""Time for scripts: now and sleep. Ungated; a sleep ends with the run."""

from __future__ import annotations

import trio

from luahost.errors import HostFault
from luahost.ops.world import Share


def now(share: Share, args: None) -> float:
    return share.world.now_s()


async def sleep(share: Share, seconds: float) -> None:
    if not seconds >= 0:  # not a number too; the VM has checked, but a worker may lie
        raise HostFault(f"a sleep of {seconds} s", kind="worker_lied")
    await trio.sleep(seconds)
