"""Every row of the table by name; every rung of the ladder; the whole decision by property."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.errors import ConfigError
from luahost.wire import failures, retry
from luahost.wire.events import Failure
from luahost.wire.failures import classify, classify_in_band
from luahost.wire.retry import RULES, GiveUp, RetryPolicy, Wait, backoff_s, decide, should_retry

T12 = RetryPolicy()


def failed(kind: str, status: int | None = None, **more: Any) -> Failure:
    return Failure(kind=kind, message="m", status=status, **more)


def decided(failure: Failure, **given: Any) -> Wait | GiveUp:
    """The decision after a first attempt without output, deadline, jitter or header, but for what is given."""
    about: dict[str, Any] = {
        "attempt": 1,
        "started_content": False,
        "elapsed_s": 0.0,
        "remaining_s": None,
        "rand": 0.0,
        "policy": T12,
    }
    return decide(failure, **(about | given))


AGAIN = Wait(0.5, "backoff")
NEVER = GiveUp("not_retryable")


# -- the table

# kind → the statuses it comes with (None: no answer, or one that began with a 200) and what follows
ROWS: list[tuple[str, tuple[int | None, ...], bool]] = [
    ("auth_error", (401, 403, 400, None, 200), False),
    ("quota", (402, 429, 403, None, 200), False),
    ("rate_limit", (429, None, 200), True),
    ("rate_limit", (402, 403, 400), True),  # by the server's words: W35's in-flight budget
    ("overloaded", (503, 529, 500, None, 200), True),
    ("overloaded", (400, 402, 403), True),
    ("overloaded", (501, 505), False),
    ("server_error", (408, 500, 502, 504, None, 200), True),
    ("server_error", (400, 501, 505, 507, 520, 599), False),
    ("http_error", (409,), True),
    ("http_error", (405, 410, 418, 425, 451), False),
    ("context_overflow", (400, 413, 500, None, 200), False),
    ("too_large", (413, 429, None, 200), False),
    ("content_filter", (400, 403, None, 200), False),
    ("invalid_request", (400, 422, None, 200), False),
    ("not_found", (404, None, 200), False),
    ("timeout", (None, 200), True),
    ("connection_reset", (None, 200), True),
    ("network", (None,), True),
    ("dns", (None,), False),
    ("tls", (None,), False),
    ("connection_refused", (None,), False),
    ("host_not_allowed", (None,), False),
    ("parse_error", (None, 200), True),
    ("stream_incomplete", (None, 200), True),
    ("empty_response", (None, 200), True),
    ("malformed_tool_call", (None, 200), False),
    ("invalid_response", (None, 200), False),
    ("a_kind_of_next_year", (None, 200, 500), False),
]
CELLS = [(kind, status, again) for kind, statuses, again in ROWS for status in statuses]


@pytest.mark.parametrize(("kind", "status", "again"), CELLS)
def test_table_2(kind: str, status: int | None, again: bool) -> None:
    assert decided(failed(kind, status)) == (AGAIN if again else NEVER)


@pytest.mark.parametrize(("kind", "status", "again"), CELLS)
def test_t12_nothing_is_repeated_once_output_has_begun(kind: str, status: int | None, again: bool) -> None:
    decision = decided(failed(kind, status), started_content=True)
    assert isinstance(decision, GiveUp)
    assert decision.reason == ("output_started" if again else "not_retryable")


def test_every_rule_has_a_row_above_and_every_kind_of_failures_a_rule() -> None:
    assert set(RULES) <= {kind for kind, _, _ in ROWS}
    kinds = {*failures.STATUS.values(), *failures.RETRYABLE, *failures._WORDS, *failures._GENERAL_WORDS}
    assert kinds <= set(RULES)
    assert not [kind for kind in failures.RETRYABLE if RULES[kind] == "no"]


def body(**error: Any) -> bytes:
    return msgspec.json.encode({"error": {"message": "m"} | error})


# The same table from bytes, through failures.classify.
CLASSIFIED: list[tuple[str, Failure, bool]] = [
    ("429", classify(429, {}, b""), True),
    ("429 that is a bill", classify(429, {}, body(code="insufficient_quota")), False),
    ("402", classify(402, {}, body(code=402)), False),
    (
        "w35 402 in flight",
        classify(402, {}, body(code=402, metadata={"limit_source": "openrouter_in_flight_budget"})),
        True,
    ),
    ("anthropic 409 conflict", classify(409, {}, body(type="conflict_error")), True),
    ("anthropic 529", classify(529, {}, body(type="overloaded_error")), True),
    ("w37 llama.cpp still loading", classify(503, {}, body(code=503, type="unavailable_error")), True),
    ("501", classify(501, {}, b""), False),
    ("501 that calls itself unavailable", classify(501, {}, body(type="unavailable")), False),
    ("505", classify(505, {}, b""), False),
    ("500 about the context", classify(500, {}, body(message="exceeds the context size")), False),
    ("in band, overloaded", classify_in_band({"error": {"type": "overloaded_error"}}), True),
    ("in band, server_error", classify_in_band({"error": {"type": "server_error"}}), True),
    ("in band, a text", classify_in_band("boom"), True),
    ("in band, code 502", classify_in_band({"error": {"code": 502, "message": "m"}}), True),
    ("in band, code 501", classify_in_band({"error": {"code": 501, "message": "m"}}), False),
    ("in band, code 402", classify_in_band({"error": {"code": 402, "message": "m"}}), False),
    ("in band, content filter", classify_in_band({"error": {"code": "content_filter"}}), False),
]


@pytest.mark.parametrize(
    ("failure", "again"), [cell[1:] for cell in CLASSIFIED], ids=[cell[0] for cell in CLASSIFIED]
)
def test_what_servers_say_is_decided_by_the_same_table(failure: Failure, again: bool) -> None:
    assert decided(failure) == (AGAIN if again else NEVER)


@pytest.mark.parametrize("status", range(400, 600))
def test_a_bare_status_is_retried_if_it_is_listed(status: int) -> None:
    assert (decided(classify(status, {}, b"")) == AGAIN) == (status in T12.statuses)


@pytest.mark.parametrize(("kind", "status"), [("rate_limit", 429), ("overloaded", 503), ("server_error", 500)])
def test_a_status_taken_off_the_list_is_not_retried_but_the_kind_in_a_200_is(kind: str, status: int) -> None:
    none = RetryPolicy(statuses=())
    assert decided(failed(kind, status), policy=none) == NEVER
    assert decided(failed(kind, 200, provider_code=f"{status}"), policy=none) == NEVER
    assert decided(failed(kind, 200), policy=none) == AGAIN


def test_a_status_put_on_the_list_is_retried() -> None:
    assert decided(classify(425, {}, b""), policy=RetryPolicy(statuses=(425,))) == AGAIN
    assert decided(classify(501, {}, b""), policy=RetryPolicy(statuses=(501,))) == AGAIN


@pytest.mark.parametrize("code", ["", "rate_limit", "999", "200", "0", "٥٠١", "5٠١", "501x", "5010"])
def test_a_code_that_is_no_status_leaves_an_error_in_band_to_its_kind(code: str) -> None:
    assert decided(failed("server_error", 200, provider_code=code)) == AGAIN


# -- the ladder


def test_r5_an_empty_answer_is_retried_and_then_the_attempts_are_named() -> None:
    empty = failed("empty_response", 200)
    assert decided(empty, attempt=1) == Wait(0.5, "backoff")
    assert decided(empty, attempt=2) == Wait(1.0, "backoff")
    assert decided(empty, attempt=3, elapsed_s=1234.56) == GiveUp(
        "attempts_used", None, "gave up after 3 attempts in 1234.6 s"
    )


def test_u16_a_stream_that_broke_off_is_retried_before_output_only() -> None:
    broken = failed("stream_incomplete", 200, retryable=True)
    assert decided(broken) == AGAIN
    assert decided(broken, started_content=True) == GiveUp(
        "output_started", None, "not tried again, as the answer had begun"
    )


def test_no_retries_means_one_attempt_and_no_word_about_it() -> None:
    assert decided(failed("timeout"), policy=RetryPolicy(max_retries=0)) == GiveUp("attempts_used")


def test_t1_the_backoff_doubles_up_to_its_cap_and_is_jittered_after_it() -> None:
    many = RetryPolicy(max_retries=9)
    waits = [decided(failed("timeout"), attempt=n, policy=many) for n in range(1, 8)]
    assert waits == [Wait(s, "backoff") for s in (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)]
    assert decided(failed("timeout"), attempt=7, rand=0.5, policy=many) == Wait(7.0, "backoff")
    assert decided(failed("timeout"), attempt=1, rand=0.5, policy=many) == Wait(0.4375, "backoff")


@pytest.mark.parametrize(
    ("asked_s", "remaining_s", "decision"),
    [
        (0.001, None, Wait(0.001, "retry_after")),
        (2.0, None, Wait(2.0, "retry_after")),
        (60.0, None, Wait(60.0, "retry_after")),
        (
            60.5,
            None,
            GiveUp("retry_after_too_long", 60.5, "the server asks to wait 60.5 s, and at most 60 s are waited for"),
        ),
        (20.0, 20.5, Wait(20.0, "retry_after")),
        (20.0, 20.0, GiveUp("retry_after_too_long", 20.0, "the server asks to wait 20 s, and 20 s are left")),
        (20.0, -1.0, GiveUp("retry_after_too_long", 20.0, "the server asks to wait 20 s, and 0 s are left")),
    ],
)
def test_t9_the_servers_wish_is_kept_to_or_handed_on(
    asked_s: float, remaining_s: float | None, decision: Wait | GiveUp
) -> None:
    assert decided(failed("rate_limit", 429, retry_after_s=asked_s), remaining_s=remaining_s, rand=0.9) == decision


@pytest.mark.parametrize("asked_s", [math.nan, math.inf, -math.inf, -3.0, 0.0, -0.0])
def test_t1_a_wish_that_is_no_number_of_seconds_is_none(asked_s: float) -> None:
    assert decided(failed("rate_limit", 429, retry_after_s=asked_s)) == AGAIN
    assert decided(failed("quota", 429, retry_after_s=asked_s)) == NEVER


def test_t11_what_is_not_retried_still_hands_on_the_wish() -> None:
    assert decided(failed("quota", 429, retry_after_s=3600.0)) == GiveUp("not_retryable", 3600.0)


@pytest.mark.parametrize("remaining_s", [0.5, 0.1, 0.0, -5.0, math.nan])
def test_t8_a_backoff_that_does_not_fit_before_the_deadline_is_not_begun(remaining_s: float) -> None:
    assert decided(failed("timeout"), remaining_s=remaining_s, elapsed_s=9.5) == GiveUp(
        "deadline", None, "no time left for another attempt after 9.5 s"
    )
    assert decided(failed("timeout"), remaining_s=0.51) == AGAIN


@pytest.mark.parametrize(("kind", "status", "again"), CELLS)
def test_t1_x_should_retry_overrides_the_table_both_ways(kind: str, status: int | None, again: bool) -> None:
    assert decided(failed(kind, status), should_retry=True) == AGAIN
    assert decided(failed(kind, status), should_retry=False) == NEVER


def test_t1_x_should_retry_overrides_nothing_else() -> None:
    def reason(failure: Failure, **given: Any) -> str:
        return decided(failure, should_retry=True, **given).reason

    assert reason(failed("rate_limit", 429, retry_after_s=61.0)) == "retry_after_too_long"
    assert reason(failed("rate_limit", 429), attempt=3) == "attempts_used"
    assert reason(failed("rate_limit", 429), started_content=True) == "output_started"
    assert reason(failed("rate_limit", 429), remaining_s=0.0) == "deadline"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-should-retry": "true"}, True),
        ({"x-should-retry": "false"}, False),
        ({"X-Should-Retry": " True "}, True),
        ({"X-SHOULD-RETRY": "FALSE"}, False),
        ({"x-should-retry": "1"}, None),
        ({"x-should-retry": ""}, None),
        ({"retry-after": "true"}, None),
        ({}, None),
    ],
)
def test_x_should_retry_is_read(headers: dict[str, str], said: bool | None) -> None:
    assert should_retry(headers) is said


# -- the policy


def test_t12_the_defaults() -> None:
    assert msgspec.structs.asdict(T12) == {
        "max_retries": 2,
        "base_s": 0.5,
        "max_backoff_s": 8.0,
        "jitter": 0.25,
        "max_retry_after_s": 60.0,
        "statuses": (408, 409, 429, 500, 502, 503, 504, 529),
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_retries": -1}, "retry.max_retries: a whole number from 0 to 100 expected, got -1"),
        ({"max_retries": 101}, "retry.max_retries: a whole number from 0 to 100 expected, got 101"),
        ({"max_retries": True}, "retry.max_retries: a whole number from 0 to 100 expected, got True"),
        ({"max_retries": 1.5}, "retry.max_retries: a whole number from 0 to 100 expected, got 1.5"),
        ({"base_s": -0.1}, "retry.base_s: a number from 0 to 86400 expected, got -0.1"),
        ({"base_s": True}, "retry.base_s: a number from 0 to 86400 expected, got True"),
        ({"base_s": "1"}, "retry.base_s: a number from 0 to 86400 expected, got '1'"),
        ({"max_backoff_s": math.inf}, "retry.max_backoff_s: a number from 0 to 86400 expected, got inf"),
        ({"jitter": 1.1}, "retry.jitter: a number from 0 to 1 expected, got 1.1"),
        ({"jitter": math.nan}, "retry.jitter: a number from 0 to 1 expected, got nan"),
        ({"max_retry_after_s": None}, "retry.max_retry_after_s: a number from 0 to 86400 expected, got None"),
        ({"statuses": 429}, "retry.statuses: a list of HTTP statuses expected, got 429"),
        ({"statuses": (200,)}, "retry.statuses: HTTP statuses from 400 to 599 expected, got 200"),
        ({"statuses": ("429",)}, "retry.statuses: HTTP statuses from 400 to 599 expected, got '429'"),
        ({"statuses": (429, 401)}, "retry.statuses: 401 is auth_error, which is never retried; leave it out"),
    ],
)
def test_a_wrong_policy_is_refused_in_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RetryPolicy(**wrong)
    assert refused.value.message == message


def test_a_policy_comes_from_a_configuration_files_types_and_takes_no_unknown_field() -> None:
    assert RetryPolicy(statuses=[429]) == RetryPolicy(statuses=(429,))  # type: ignore[arg-type]
    assert hash(RetryPolicy(statuses=[429]))  # type: ignore[arg-type]
    assert msgspec.convert({"max_retries": 0, "statuses": [429]}, RetryPolicy).statuses == (429,)
    with pytest.raises(msgspec.ValidationError, match="unknown field `retries`"):
        msgspec.convert({"retries": 1}, RetryPolicy)


# -- the whole

SECONDS = st.floats(0, 100)
POLICIES = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 100),
    base_s=SECONDS,
    max_backoff_s=SECONDS,
    jitter=st.floats(0, 1),
    max_retry_after_s=SECONDS,
    statuses=st.lists(st.sampled_from([*retry.STATUSES, 418, 501, 505]), unique=True).map(tuple),
)
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from([*RULES, "a_kind_of_next_year"]),
    message=st.just("m"),
    retryable=st.booleans(),
    retry_after_s=st.none() | SECONDS | st.floats(),
    status=st.none() | st.integers(100, 599),
    provider_code=st.none() | st.integers(0, 999).map(str) | st.text(max_size=4),
)
# Retried by any policy, so that what follows is about the waits.
RETRIED = st.builds(
    failed,
    st.sampled_from([kind for kind, rule in RULES.items() if rule == "yes"]),
    retry_after_s=st.none() | SECONDS | st.floats(),
)
RANDS = st.floats(0, 1, exclude_max=True)
GIVEN = st.fixed_dictionaries(
    {
        "attempt": st.integers(1, 110),
        "started_content": st.booleans(),
        "elapsed_s": st.floats(0, 1e6),
        "remaining_s": st.none() | st.floats(-10, 1000) | st.floats(),
        "rand": RANDS,
        "policy": POLICIES,
        "should_retry": st.none() | st.booleans(),
    }
)
WHOLE = settings(max_examples=100, deadline=None)


def is_wish(asked_s: float | None) -> bool:
    return asked_s is not None and math.isfinite(asked_s) and asked_s > 0


@WHOLE
@given(FAILURES | RETRIED, GIVEN)
def test_a_wait_keeps_every_promise_and_a_refusal_hands_on_the_wish(
    failure: Failure, given: dict[str, Any]
) -> None:
    decision, policy, left_s = decide(failure, **given), given["policy"], given["remaining_s"]
    assert decision == decide(failure, **given)  # pure
    asked_s = failure.retry_after_s if is_wish(failure.retry_after_s) else None
    if isinstance(decision, GiveUp):
        assert decision.retry_after_s == asked_s
        assert "\n" not in decision.note
        return
    assert not given["started_content"]
    assert given["attempt"] <= policy.max_retries
    assert given["should_retry"] is not False
    assert given["should_retry"] or RULES[failure.kind] != "no"
    assert decision.reason == ("backoff" if asked_s is None else "retry_after")
    if asked_s is None:
        assert 0 <= decision.seconds <= policy.max_backoff_s
    else:
        assert asked_s <= decision.seconds <= policy.max_retry_after_s
    assert left_s is None or decision.seconds < left_s


@WHOLE
@given(FAILURES | RETRIED, GIVEN)
def test_a_refusal_has_the_reason_it_names(failure: Failure, given: dict[str, Any]) -> None:
    """Taking away the one thing named changes the decision's reason; nothing else does."""
    decision = decide(failure, **given)
    cure: dict[str, dict[str, Any]] = {
        "output_started": {"started_content": False},
        "attempts_used": {"attempt": 1, "policy": msgspec.structs.replace(given["policy"], max_retries=1)},
        "deadline": {"remaining_s": None},
        "not_retryable": {"should_retry": True},
    }
    if decision.reason in cure:
        assert decide(failure, **(given | cure[decision.reason])).reason != decision.reason
    elif decision.reason == "retry_after_too_long":
        patient = msgspec.structs.replace(given["policy"], max_retry_after_s=86_400.0)
        fits = failure.retry_after_s is not None and failure.retry_after_s <= 86_400.0
        again = decide(failure, **(given | {"remaining_s": None, "policy": patient}))
        assert isinstance(again, Wait) == fits


@WHOLE
@given(
    st.lists(RETRIED, min_size=1, max_size=8),
    POLICIES,
    st.none() | st.floats(0, 1000),
    st.lists(RANDS, min_size=1, max_size=3),
)
def test_t8_the_sum_of_all_waits_is_bounded(
    every: list[Failure], policy: RetryPolicy, overall_s: float | None, rands: list[float]
) -> None:
    slept_s = 0.0
    for attempt in range(1, 102):  # no policy allows more attempts than that
        failure = every[attempt % len(every)]
        left_s = None if overall_s is None else overall_s - slept_s
        rand = rands[attempt % len(rands)]
        decision = decided(
            failure, attempt=attempt, remaining_s=left_s, rand=rand, policy=policy, elapsed_s=slept_s
        )
        if isinstance(decision, GiveUp):
            break
        slept_s += decision.seconds
    else:
        pytest.fail("never gave up")
    assert attempt <= policy.max_retries + 1
    each_s = max(policy.max_backoff_s, policy.max_retry_after_s)
    assert slept_s <= policy.max_retries * each_s * (1 + 1e-9)
    assert overall_s is None or slept_s <= overall_s * (1 + 1e-9)


@WHOLE
@given(POLICIES, RANDS, st.integers(1, 99))
def test_t1_backoff_never_shrinks_from_attempt_to_attempt_under_the_same_chance(
    policy: RetryPolicy, rand: float, attempt: int
) -> None:
    assert backoff_s(policy, attempt, rand) <= backoff_s(policy, attempt + 1, rand)


@WHOLE
@given(POLICIES, RANDS, st.integers(1, 100))
def test_t1_jitter_only_shortens_and_by_its_share_at_most(policy: RetryPolicy, rand: float, attempt: int) -> None:
    whole_s = backoff_s(policy, attempt, 0.0)
    assert whole_s * (1 - policy.jitter) * (1 - 1e-9) <= backoff_s(policy, attempt, rand) <= whole_s
