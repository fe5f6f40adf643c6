"""Work in parts: a generator that may rest wherever it yields, and returns what it came to.

Who has an event loop lets it rest (pace.py's `through`); who can wait does the whole of it at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Parts = Generator[None, None, T]


def at_once(work: Parts[T]) -> T:
    """What comes of the work, for who can wait for the whole of it."""
    while True:
        try:
            next(work)
        except StopIteration as over:
            result: T = over.value
            return result
