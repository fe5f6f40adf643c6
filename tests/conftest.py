"""Test tools lie in tests/ and tests/host; both are importable from every test."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "host")]
