"""Whether a failed attempt is made again, and after how long: one pure decision.

The idea: what a kind of failure means for a second try is a row of RULES; everything else is a ladder, read
from the top, where each rung may give up and only the last one waits:

    x-should-retry, else the table ▸ output begun ▸ attempts used ▸ asked to wait too long ▸ no time left ▸ Wait

This is the only retry layer (T10): whoever calls it makes one request per attempt and counts them. A wait is
never shorter than the server asked; where it asked for more than the cap or the time left, the failure goes to
the script now, with the server's wish in it (T9). Once the first content event has reached the script, nothing
is repeated (T2, T12, U16). A server's `x-should-retry` speaks louder than the table, for a kind as for a
status, and softer than all other rungs (T1).

Knows no clock, no sleep and no chance (`elapsed_s`, `remaining_s` and `rand` are given), no wire, no headers but
x-should-retry; `failures` has read Retry-After and Gemini's RetryInfo into the Failure. Sources: LLM_WIRE.md
§2.5 table 2; T1 (backoff, order, too-long stop), T3, T8 to T12, R5, U16, W35; AC18.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from luahost.errors import ConfigError
from luahost.wire.events import Failure

# yes     again
# listed  again if its HTTP status is in the policy's list; in a 200 there is none, and the kind alone decides
# worded  as listed; also beside a status that says nothing about retrying, where the server's words made it
#         this kind (OpenRouter's 402 for a full in-flight budget, W35)
# no      the same request fails again; kinds without a row too
Rule = Literal["yes", "listed", "worded", "no"]

RULES: dict[str, Rule] = {
    # the server is busy or broken
    "rate_limit": "worded",
    "overloaded": "worded",
    "server_error": "listed",
    "http_error": "listed",  # a status without a kind of its own: 409
    # the way there or back broke, or nothing useful came
    "timeout": "yes",
    "connection_reset": "yes",
    "network": "yes",  # a connection that failed in no way known
    "stream_incomplete": "yes",
    "parse_error": "yes",
    "empty_response": "yes",  # R5
    # the way there does not exist
    "dns": "no",
    "tls": "no",
    "connection_refused": "no",
    "host_not_allowed": "no",
    # the request or the account is at fault
    "quota": "no",  # T11
    "auth_error": "no",
    "invalid_request": "no",
    "not_found": "no",
    "content_filter": "no",
    "context_overflow": "no",
    "too_large": "no",
    # an answer came, and asking for another is the script's choice
    "malformed_tool_call": "no",
    "invalid_response": "no",
}

STATUSES = (408, 409, 429, 500, 502, 503, 504, 529)
"""What is retried unless the policy says otherwise; not 501 and 505 (T12)."""

_DAY_S = 86_400.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and how patiently. The defaults are T12's.

    max_retries        attempts after the first; 0: none
    base_s             the first backoff; each further one is twice as long
    max_backoff_s      but never longer than this
    jitter             the share of a backoff that chance may take away, 0 to 1
    max_retry_after_s  a server that asks to wait longer is not waited for
    statuses           the HTTP statuses that are retried
    """

    max_retries: int = 2
    base_s: float = 0.5
    max_backoff_s: float = 8.0
    jitter: float = 0.25
    max_retry_after_s: float = 60.0
    statuses: tuple[int, ...] = STATUSES

    def __post_init__(self) -> None:
        if not _whole(self.max_retries, 0, 100):
            raise ConfigError(f"retry.max_retries: a whole number from 0 to 100 expected, got {self.max_retries!r}")
        _between("base_s", self.base_s, _DAY_S)
        _between("max_backoff_s", self.max_backoff_s, _DAY_S)
        _between("jitter", self.jitter, 1.0)
        _between("max_retry_after_s", self.max_retry_after_s, _DAY_S)
        if isinstance(self.statuses, list):  # as a configuration file has it
            msgspec.structs.force_setattr(self, "statuses", tuple(self.statuses))
        if not isinstance(self.statuses, tuple):
            raise ConfigError(f"retry.statuses: a list of HTTP statuses expected, got {self.statuses!r}")
        if self.statuses is STATUSES:
            return
        for status in self.statuses:
            if not _whole(status, 400, 599):
                raise ConfigError(f"retry.statuses: HTTP statuses from 400 to 599 expected, got {status!r}")
            from luahost.wire.failures import STATUS  # has many patterns: only for who names statuses of their own

            kind = STATUS.get(status, "http_error")
            if RULES[kind] == "no":
                raise ConfigError(f"retry.statuses: {status} is {kind}, which is never retried; leave it out")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _between(name: str, value: object, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise ConfigError(f"retry.{name}: a number from 0 to {high:g} expected, got {value!r}")


class Wait(msgspec.Struct, frozen=True):
    """Make another attempt after so many seconds: as many as the server asked for, or our own backoff."""

    seconds: float
    reason: Literal["retry_after", "backoff"]


class GiveUp(msgspec.Struct, frozen=True):
    """The failure stands.

    `retry_after_s` is what the server asked for, if it did, whatever the reason. `note` is what people should
    read behind the failure's own message, or "" when that says all.
    """

    reason: Literal["not_retryable", "output_started", "attempts_used", "retry_after_too_long", "deadline"]
    retry_after_s: float | None = None
    note: str = ""


def decide(
    failure: Failure,
    *,
    attempt: int,
    started_content: bool,
    elapsed_s: float,
    remaining_s: float | None,
    rand: float,
    policy: RetryPolicy,
    should_retry: bool | None = None,
) -> Wait | GiveUp:
    """What to do now that attempt number `attempt` (the first is 1) has ended in `failure`.

    `started_content`: the script has seen a content event of this attempt. `elapsed_s`: since the first attempt
    began; for the note only. `remaining_s`: until the overall deadline, None if there is none. `rand`: by
    chance, from 0 up to 1. `should_retry`: the answer's x-should-retry, as `should_retry()` reads it.
    """
    asked_s = _asked(failure)
    if not (_table(failure, policy) if should_retry is None else should_retry):
        return GiveUp("not_retryable", asked_s)
    if started_content:
        return GiveUp("output_started", asked_s, "not tried again, as the answer had begun")
    if attempt > policy.max_retries:
        note = f"gave up after {attempt} attempts in {round(elapsed_s, 1):g} s" if attempt > 1 else ""
        return GiveUp("attempts_used", asked_s, note)
    left_s = math.inf if remaining_s is None else remaining_s
    if asked_s is not None:
        if asked_s > policy.max_retry_after_s:
            bound = f"at most {policy.max_retry_after_s:g} s are waited for"
        elif not asked_s < left_s:
            bound = f"{round(max(left_s, 0.0), 1):g} s are left"
        else:
            return Wait(asked_s, "retry_after")
        return GiveUp("retry_after_too_long", asked_s, f"the server asks to wait {asked_s:g} s, and {bound}")
    wait_s = backoff_s(policy, attempt, rand)
    if not wait_s < left_s:  # also when none is left, or it is no number
        return GiveUp("deadline", None, f"no time left for another attempt after {round(elapsed_s, 1):g} s")
    return Wait(wait_s, "backoff")


def backoff_s(policy: RetryPolicy, attempt: int, rand: float) -> float:
    """base_s, twice, four times …; capped, and only then shortened by chance, so that crowds drift apart."""
    return min(policy.max_backoff_s, policy.base_s * 2.0 ** (attempt - 1)) * (1.0 - policy.jitter * rand)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """The server's own word, `x-should-retry`; None when it says neither true nor false."""
    said = next((value for name, value in headers.items() if name.lower() == "x-should-retry"), "")
    return {"true": True, "false": False}.get(said.strip().lower())


def _table(failure: Failure, policy: RetryPolicy) -> bool:
    rule = RULES.get(failure.kind, "no")
    if rule in ("yes", "no"):
        return rule == "yes"
    status = _status(failure)
    if status is None or status in policy.statuses:
        return True
    return rule == "worded" and status < 500 and status not in STATUSES


def _status(failure: Failure) -> int | None:
    """The status the server meant: of the answer or, in a 200, the number in the error's `code`."""
    if failure.status is not None and failure.status >= 300:
        return failure.status
    code = failure.provider_code or ""
    return int(code) if len(code) == 3 and code.isascii() and code.isdigit() and "400" <= code < "600" else None


def _asked(failure: Failure) -> float | None:
    """The server's wish; what is no positive, finite number of seconds is none (T1)."""
    asked_s = failure.retry_after_s
    return asked_s if asked_s is not None and 0 < asked_s < math.inf else None
