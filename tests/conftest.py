"""Test tools lie in tests/, tests/host and tests/attacks; all are importable from every test."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "host"), str(HERE / "attacks")]
