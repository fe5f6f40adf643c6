"""Test tools lie in tests/, tests/host and tests/attacks; all are importable from every test."""

import signal
import sys
from pathlib import Path

import hypothesis  # noqa: F401 - before a host: its plugin asks who refers to what, and is not told once that is frozen
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "host"), str(HERE / "attacks")]

import third_party  # noqa: E402
from third_party import _wiremock, aimock, llama, wiremock  # noqa: E402, F401 - fixtures for every test

# Run behind `&` or by nohup, the tests would hand on that these are ignored, and the command heeds it.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m servers` are the tests against servers that other people wrote; attacks/ says how soon something ends.

    What claims a time has a second try, for a machine that was busy: but no attack, whose fights tell a late end from
    one that is wrong.
    """
    for item in items:
        if item.path.parent == HERE / "attacks":
            item.add_marker(pytest.mark.alone)
        elif item.get_closest_marker("alone") and item.config.pluginmanager.hasplugin("rerunfailures"):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=5))
        if third_party.are_used_by(item):
            item.add_marker(pytest.mark.servers)
