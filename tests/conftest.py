"""Test tools lie in tests/, tests/host and tests/attacks; all are importable from every test."""

import sys
from pathlib import Path

import hypothesis  # noqa: F401 - before a host: its plugin asks who refers to what, and is not told once that is frozen
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "host"), str(HERE / "attacks")]

import third_party  # noqa: E402
from third_party import _wiremock, aimock, llama, wiremock  # noqa: E402, F401 - fixtures for every test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m servers` are the tests against servers that other people wrote; all of attacks/ says how soon something ends."""
    for item in items:
        if item.path.parent == HERE / "attacks":
            item.add_marker(pytest.mark.alone)
        if third_party.are_used_by(item):
            item.add_marker(pytest.mark.servers)
