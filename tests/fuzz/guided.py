"""`python tests/fuzz/guided.py TARGET FOLDER [libFuzzer options]`: one target of bytes, guided by coverage.

atheris is an optional extra (`pip install '.[fuzz]'`); tests/fuzz runs this by itself where it is installed. The
seeds are written into FOLDER as the first corpus. Ends by exit: 0 when nothing was found.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "host"), str(HERE.parent / "attacks")]


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    with atheris.instrument_imports(include=["luahost"]):
        from targets import TARGETS
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    words = folder / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words))
    atheris.Setup([sys.argv[0], *sys.argv[3:], f"-dict={words}", str(corpus)], target.check)
    atheris.Fuzz()


main()
