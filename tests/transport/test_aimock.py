"""Against aimock, a mock of model servers that other people wrote: the transport's attempts, kinds and waits."""

from __future__ import annotations

import json

import pytest
from calls import FalseTime, call, in_false_time
from third_party import ThirdParty


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("prompt", "kind", "attempts", "text", "waits"),
    [
        ("hello", None, 1, "Hello! How can I help you today?", []),
        ("flaky", None, 3, "third time lucky", [0.5, 1.0]),
        ("ratelimit", "rate_limit", 3, "", [2.0, 2.0]),
        ("overload", "overloaded", 3, "", [0.5, 1.0]),
        ("badkey", "auth_error", 1, "", []),
        ("garbage", "parse_error", 3, "", [0.5, 1.0]),
        ("hangup", "connection_reset", 3, "", [0.5, 1.0]),
    ],
)
def test_an_answer_has_its_kind_its_attempts_and_its_waits(
    aimock: ThirdParty, prompt: str, kind: str | None, attempts: int, text: str, waits: list[float], stream: bool
) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
        told = await call(time_, aimock.origin, body=json.dumps(body).encode())
        if prompt == "flaky" and not stream:
            attempts_, waits_ = 1, []  # its sequence was used up by the streamed call
        else:
            attempts_, waits_ = attempts, waits
        assert (told.kind, told.report.attempts, told.text) == (kind, attempts_, text)
        assert [wait_s for _, wait_s, _ in told.retries] == waits_

    case()


@pytest.mark.parametrize("prompt", ["cut me", "drop me"])
def test_a_stream_that_is_cut_is_incomplete_and_not_tried_again(aimock: ThirdParty, prompt: str) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}
        told = await call(time_, aimock.origin, body=json.dumps(body).encode())
        assert (told.kind, told.report.attempts) == ("stream_incomplete", 1)
        assert told.text.startswith("This")

    case()
