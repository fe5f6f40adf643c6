"""Garbage: when Python looks for it, so that no look takes long.

The idea: Python looks among the young objects once 700 more came than went. Where as many go as come it does not
look for long, and then for 100 ms in one piece. And whenever a quarter was added it looks through everything: 0.4 s
with 5,000 agents. So while a host runs the young are looked through by the clock, everything a few hundred times
more rarely, and what lives as long as the host never.

This is the whole process's, not one host's: the last of several puts it back. A program that has switched the
collector off keeps it off. Knows no event loop. Source: CPython 3.11, Modules/gcmodule.c (gc_collect_generations).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_S = 0.02
"""How long the young wait to be looked through."""

FULL_AFTER = 3000
"""Looks among the young, Python's own included, until there may be one through everything: about a minute's."""

_lock = threading.Lock()  # hosts may be in several threads
_hosts = 0
_before = gc.get_threshold()


def settled() -> None:
    """What is there now lives as long as the host: a look through it for garbage would take 15 ms, in one piece."""
    gc.freeze()


@contextmanager
def looked_for_by_the_clock() -> Iterator[None]:
    """While this lasts, look() is called often."""
    global _hosts, _before  # noqa: PLW0603 - the collector is one of the whole process
    with _lock:
        _hosts += 1
        if _hosts == 1:
            _before = gc.get_threshold()
            gc.set_threshold(_before[0], _before[1], max(_before[2], FULL_AFTER))
        settled()
    try:
        yield
    finally:
        with _lock:
            _hosts -= 1
            if not _hosts:
                gc.set_threshold(*_before)
                gc.unfreeze()


def look() -> None:
    """Among the young."""
    if gc.isenabled():
        gc.collect(1)
