"""Bytes made from other bytes: what every target of bytes shares, with coverage to guide it or without.

A check takes bytes: it returns, or raises something, and then that is a finding. ByteTarget makes of it what the
table wants: seeds are changed, crossed and cut at random, each try is timed, and the memory of the whole is
watched. tests/fuzz/guided.py gives the same checks to atheris.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

from finding import Finding

Check = Callable[[bytes], object]
SLOW_S = 1.0
"""One try on an input of at most MAX_BYTES may take so long; a machine may be busy, so the second try counts."""
MAX_BYTES = 64 * 1024
GROWN_BYTES = 512 << 20
GUIDED_FROM_S = 20.0
"""With less time than this, atheris would do nothing but start."""

NUMBERS = [b"0", b"-1", b"1e999", b"9" * 30, b"2147483648", b"18446744073709551616", b"0x10", b"NaN", b"-0.0"]
ODD = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"\\ud800",
    b'"',
    b"\\",
]
NESTED = [b"[" * 2000, b'{"a":' * 2000, b"\x91" * 2000, b"\x81\xa1a" * 2000]


def mutated(rng: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the seeds, changed a few times."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 4, 16, 200)))
        match rng.randrange(9):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = data[at:end] * rng.choice((1, 2, 50))
            case 2:
                data[at:at] = rng.choice(words)
            case 3:
                data[at:end] = rng.choice(words)
            case 4 if data:
                data[at - 1] ^= 1 << rng.randrange(8)
            case 5:
                data[at:end] = rng.randbytes(end - at)
            case 6:
                other = rng.choice(seeds)
                from_ = rng.randrange(len(other) + 1)
                data[at:] = other[from_:]
            case 7:
                del data[at:]
            case _:
                data[at:at] = rng.choice(rng.choice((NUMBERS, ODD, ODD, NESTED)))
    return bytes(data[:MAX_BYTES])


def pieces(data: bytes, rng: Random) -> list[bytes]:
    """The bytes, cut at random: byte by byte, here and there, or not at all."""
    style = rng.randrange(3)
    if style == 0 or len(data) < 2:
        return [data]
    cuts = (
        range(1, len(data))
        if style == 1 and len(data) < 3000
        else sorted(rng.sample(range(1, len(data)), min(9, len(data) - 1)))
    )
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def cuts_of(data: bytes) -> Random:
    """A generator that the bytes themselves decide: the same input is cut the same way when it is looked at again."""
    return Random(data)


class ByteTarget:
    """A check as the table of targets wants it. Where atheris is, and time, it has half of it."""

    def __init__(self, check: Check, seeds: Callable[[], Sequence[bytes]], words: Sequence[bytes] = ()) -> None:
        self.check, self.seeds, self.words = check, seeds, [*words, *NUMBERS]
        self.name = ""  # set by the table

    def __call__(self, rng: Random, deadline: float) -> int:
        executions = 0
        left_s = deadline - time.monotonic()
        if left_s >= GUIDED_FROM_S and find_spec("atheris") is not None:
            executions = self._guided(left_s / 2, rng.randrange(1, 1 << 31))
        seeds, grown = list(self.seeds()), _peak_bytes() + GROWN_BYTES
        for seed in seeds:  # as they are
            _try(self.check, seed, executions)
            executions += 1
        while time.monotonic() < deadline:
            data = mutated(rng, seeds, self.words)
            _try(self.check, data, executions)
            executions += 1
            if executions % 200 == 0 and _peak_bytes() > grown:
                raise Finding(f"the process grew by more than {GROWN_BYTES >> 20} MiB", data, executions)
        return executions

    def _guided(self, for_s: float, seed: int) -> int:
        """tests/fuzz/guided.py in a process of its own: it ends by exit, and instruments what it imports."""
        with tempfile.TemporaryDirectory(prefix="luahost-fuzz-") as folder:
            options = [
                f"-max_total_time={int(for_s)}",
                f"-seed={seed}",
                f"-max_len={MAX_BYTES}",
                "-rss_limit_mb=1024",
            ]
            options += [f"-timeout={int(10 * SLOW_S)}", f"-artifact_prefix={folder}/found-", "-print_final_stats=1"]
            program = [sys.executable, str(Path(__file__).with_name("guided.py")), self.name, folder, *options]
            ran = subprocess.run(program, capture_output=True, text=True, errors="replace", check=False)
            count = re.search(r"number_of_executed_units: (\d+)", ran.stderr) or re.search(
                r"Done (\d+)", ran.stderr
            )
            executions = int(count[1]) if count else 0
            for file in Path(folder).glob("found-*"):
                told = re.findall(r"^\s*\S*(?:Error|Exception)\b.*$", ran.stderr + ran.stdout, re.MULTILINE)
                raise Finding(f"guided: {told[-1] if told else ran.stderr[-2000:]}", file.read_bytes(), executions)
            if ran.returncode:
                raise Finding(f"guided: ended with {ran.returncode}: {ran.stderr[-2000:]}", b"", executions)
            return executions


def _try(check: Check, data: bytes, executions: int) -> None:
    took_s = 0.0
    for _ in range(2):
        began = time.process_time()
        try:
            check(data)
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {str(error)[:2000]}", data, executions) from error
        took_s = time.process_time() - began
        if took_s < SLOW_S:
            return
    raise Finding(f"took {took_s:.1f} s", data, executions)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
