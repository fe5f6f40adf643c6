"""What a server's refusal means: status, headers and body in, one `Failure` out.

The idea: servers disagree in shape and agree in words. `_envelope` finds the words (code, type, status,
reasons) and the message in any of the shapes seen; then tables decide, from the sure to the vague:

    402 ▸ words that say one thing everywhere ▸ wordings of the message ▸ the status ▸ general words

General words (`invalid_request_error`, `server_error`) stand beside every status and so never beat one;
they decide only where there is no status, in an error that came inside a 200. A number in `code` is such
a status for those. The message is masked before it is cut, so no key is left over by the cut.

Knows no wire (OpenAI, OpenRouter, llama.cpp, vLLM, Ollama, FastAPI, Anthropic and Gemini are told apart by
nothing but their words), no clock (`now_s` is given), no retry policy. Sources: LLM_WIRE.md §2.5 table 2,
W10 W11 W22 W30 W34 W35 W37, T1, U3, U18; RFC 9110 5.6.7 and 10.2.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from luahost.wire.events import Failure, StopReason

MESSAGE_CHARS = 500
_LOOK_AT = 8192  # characters of a message that are masked, cleaned and matched at all

# The same request may succeed later. Kinds not listed here never do.
RETRYABLE = frozenset({"rate_limit", "overloaded", "server_error", "parse_error", "stream_incomplete"})
_NOT_IMPLEMENTED = frozenset({501, 505})  # server errors that a second try does not cure

STATUS: dict[int, str] = {
    400: "invalid_request",
    401: "auth_error",
    402: "quota",
    403: "auth_error",
    404: "not_found",
    408: "server_error",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    529: "overloaded",
}

# Words (regular expressions, apart by blanks) that mean one thing whatever the status. Read from the top,
# the first kind with a hit wins: a 429 that says both `rate_limit_error` and `insufficient_quota` is a
# bill, not a wait.
_WORDS: dict[str, str] = {
    "quota": r"""insufficient_(?:quota|credits?|balance|funds).* .*spend_limit.*
        .*usage_limit_(?:exceeded|reached) billing_(?:error|not_active|hard_limit_reached)
        credit_balance_\w+ payment_required .*per_?day.*""",
    "auth_error": r"""invalid_api_key api_key_(?:invalid|expired) authentication_?error invalid_authentication
        permission_error permission_denied permissiondeniederror unauthenticated""",
    "context_overflow": r"""context_length_exceeded exceed_context_size_error
        (?:model_)?context_window_exceeded contextwindowexceedederror""",
    "content_filter": r"""content_filter(?:ed)? content_?policy_?violation(?:error)? safety moderation\w*
        responsibleaipolicyviolation data_inspection_failed prohibited_content invalid_prompt""",
    "too_large": "request_too_large payload_too_large",
    "not_found": "model_not_found not_found(?:_error)? notfounderror",
    "overloaded": r"""(?:(?:server_is|engine|model)_)?overloaded(?:_error)?
        (?:service_)?unavailable(?:_error)? serviceunavailableerror insufficient_system_resource""",
    "rate_limit": r"""rate_limit(?:_error|_exceeded|ed)? ratelimiterror slow_down requests tokens
        resource_exhausted too_many_requests throttling_error""",
}
# Words that only repeat the status's class.
_GENERAL_WORDS: dict[str, str] = {
    "invalid_request": r"""invalid_request(?:_error)? invalid_argument invalid_value failed_precondition
        out_of_range badrequesterror unprocessable_entity unsupported_\w+""",
    "server_error": r"""server_error api_error internal(?:_error|_?server_?error)? timeout_error
        deadline_exceeded unknown bad_gateway""",
}
# Wordings, for servers that say it in prose alone; only where the status leaves room for it.
_PROSE: tuple[tuple[str, frozenset[int], re.Pattern[str]], ...] = (
    (
        "context_overflow",
        frozenset({200, 400, 413, 422, 500}),
        re.compile(
            r"maximum context length|context[ _](?:length|size|window|limit)|prompt is too long"
            r"|input token count .{0,40}exceeds|maximum number of tokens allowed",
            re.I,
        ),
    ),
    (
        "content_filter",
        frozenset({200, 400, 403, 422}),
        re.compile(
            r"content (?:management )?(?:filter|policy)|safety (?:policy|filter|system)"
            r"|flagged .{0,40}moderation",
            re.I,
        ),
    ),
    (
        "auth_error",
        frozenset({200, 400}),
        re.compile(r"api key (?:is )?(?:not valid|invalid|expired|not found)", re.I),
    ),
)


def _compiled(table: dict[str, str]) -> dict[str, re.Pattern[str]]:
    return {kind: re.compile("|".join(words.split()), re.I) for kind, words in table.items()}


_WORDS_RE = _compiled(_WORDS)
_GENERAL_RE = _compiled(_GENERAL_WORDS)

# The stop reasons of §2.5's first table that a failure, rather than a finish reason, brings.
_STOPS: dict[str, StopReason] = {
    "context_overflow": "context_limit",
    "content_filter": "content_filter",
    "malformed_tool_call": "malformed_tool_call",
    "stream_incomplete": "stream_incomplete",
}


def stop_reason(kind: str) -> StopReason:
    """The `End.stop_reason` that belongs to a failure's kind."""
    return _STOPS.get(kind, "error")


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float | None = None) -> Failure:
    """A response that is not a 2xx. Total: any body, whole, cut or none, gives a Failure."""
    found = _envelope(_json_in(body))
    text = clean(found.message) or excerpt(body, MESSAGE_CHARS) or "(no text in the answer)"
    kind = _kind(status, found, text)
    return Failure(
        kind=kind,
        message=f"HTTP {status}: {text}",
        retryable=(kind in RETRYABLE or status == 409) and status not in _NOT_IMPLEMENTED,
        retry_after_s=_retry_after(headers, found, now_s),
        status=status,
        provider_code=found.code,
        param=found.param,
    )


def classify_in_band(
    error: Any, headers: Mapping[str, str] | None = None, *, status: int = 200, now_s: float | None = None
) -> Failure:
    """An error that came inside a 200: as its whole body, or as a frame of its stream.

    `error` is the decoded frame (with its `error` member) or, from a server that sends no JSON, its text.
    """
    found = _envelope(error if isinstance(error, dict | list) else {"error": error})
    text = clean(found.message) or "the server reported an error without saying which"
    kind = _kind(None, found, text)
    return Failure(
        kind=kind,
        message=text,
        retryable=kind in RETRYABLE and found.number not in _NOT_IMPLEMENTED,
        retry_after_s=_retry_after(headers or {}, found, now_s),
        status=status,
        provider_code=found.code,
        param=found.param,
    )


class _Found(msgspec.Struct):
    """What an envelope says, whichever shape it has."""

    message: str = ""
    words: list[str] = []
    code: str | None = None
    number: int | None = None  # `code` where it is a number or a numeric text
    param: str | None = None
    retry_delay_s: float | None = None
    moderated: bool = False
    in_flight: bool = False


def _kind(status: int | None, found: _Found, text: str) -> str:
    """The ladder. `status` is None for an error inside a 200; then a number in `code` stands for it."""
    if status is None and found.number is not None and 400 <= found.number < 600:
        status = found.number
    if status == 402:
        return "rate_limit" if found.in_flight else "quota"
    if found.moderated and status in (403, None):
        return "content_filter"
    worded = _worded(_WORDS_RE, found.words)
    prose = next((kind for kind, on, regex in _PROSE if (status or 200) in on and regex.search(text)), None)
    if status == 413:  # also where it is called a rate: a request of that size will never fit
        return "context_overflow" if "context_overflow" in (worded, prose) else "too_large"
    if worded is not None or prose is not None:
        return worded or prose or ""
    if status is None:
        return _worded(_GENERAL_RE, found.words) or "server_error"
    return STATUS.get(status) or ("server_error" if status >= 500 else "http_error")


def _worded(table: Mapping[str, re.Pattern[str]], words: list[str]) -> str | None:
    return next((kind for kind, regex in table.items() if any(map(regex.fullmatch, words))), None)


def _json_in(body: bytes) -> Any:
    """The JSON of a body: all of it, or (from gateways) what follows its first `data:` line."""
    text = body.strip()
    if not text.startswith((b"{", b"[")):
        line = next((part for part in text.split(b"\n", 8)[:8] if part.startswith(b"data:")), b"")
        text = line.removeprefix(b"data:")
    try:
        return json.loads(text.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def _envelope(value: Any) -> _Found:
    """The ladder of shapes; anything that is none of them gives an empty _Found."""
    if isinstance(value, list):  # Gemini wraps its error in an array
        value = next((item for item in value if isinstance(item, dict)), None)
    if not isinstance(value, dict):
        return _Found()
    error = value.get("error")
    if error is None and isinstance(value.get("errors"), list):  # Cloudflare
        error = next((item for item in value["errors"] if isinstance(item, dict)), None)
    if isinstance(error, dict):
        return _fields(error, value)
    if error:  # Ollama, TGI: the error is its text, its class stands beside it
        return _fields({**value, "message": error}, value)
    if value.get("detail"):  # FastAPI
        return _fields({**value, "message": value["detail"]}, value)
    return _fields(value, value)  # vLLM, Mistral, AWS: the members themselves


def _fields(error: dict[str, Any], around: dict[str, Any]) -> _Found:
    found = _Found(message=_prose(error.get("message") or error.get("msg")), words=[])
    codes = [error.get(name) for name in ("code", "type", "status", "error_type")]
    codes.append(around.get("error_type"))
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int | str) or code in ("None", "null"):
            continue
        word = f"{code}".strip()[:100]
        if word.isascii() and word.isdigit():
            found.number = found.number or int(word)
        elif word:
            found.words.append(word)
        found.code = found.code or clean(word) or None
    if isinstance(error.get("param"), str):
        found.param = clean(error["param"])[:100] or None
    detail = around.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = detail[0].get("loc")
        found.param = clean(".".join(map(str, where)))[:100] if isinstance(where, list) else None
    _gemini_details(error.get("details"), found)
    _openrouter_metadata(error.get("metadata"), found)
    return found


def _prose(value: Any, depth: int = 0) -> str:
    """A message that may be a text, FastAPI's list of `{loc, msg}`, or an object holding one."""
    if isinstance(value, str):
        return value[:_LOOK_AT]
    if isinstance(value, list):
        return "; ".join(filter(None, (_prose(item, depth + 1) for item in value[:5]))) if depth < 3 else ""
    if isinstance(value, dict):
        named = (value.get(name) for name in ("message", "msg", "error", "detail"))
        return next(filter(None, (_prose(item, depth + 1) for item in named)), "") if depth < 3 else ""
    return "" if value is None or isinstance(value, bool) else str(value)


def _gemini_details(details: Any, found: _Found) -> None:
    for detail in _dicts(details):
        reason = detail.get("reason")
        if isinstance(reason, str):
            found.words.append(reason)
        delay = detail.get("retryDelay")
        if isinstance(delay, str):
            found.retry_delay_s = _seconds(delay.removesuffix("s"))
        found.words += [str(violation.get("quotaId")) for violation in _dicts(detail.get("violations"))]


def _openrouter_metadata(metadata: Any, found: _Found) -> None:
    if not isinstance(metadata, dict):
        return
    found.moderated = bool(metadata.get("reasons") or metadata.get("flagged_input"))
    found.in_flight = metadata.get("limit_source") == "openrouter_in_flight_budget"
    raw = metadata.get("raw")  # the upstream's own words; the message is often only "Provider returned error"
    if isinstance(raw, str) and raw and raw not in found.message:
        found.message = f"{found.message} ({raw[:_LOOK_AT]})"


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _retry_after(headers: Mapping[str, str], found: _Found, now_s: float | None) -> float | None:
    asked = retry_after(headers, now_s=now_s)
    return found.retry_delay_s if asked is None else asked


_DATE = re.compile(  # RFC 9110: IMF-fixdate and RFC 850, or asctime
    r"(?P<day>\d\d)[ -](?P<month>[A-Z][a-z]{2})[ -](?P<year>\d{4}|\d\d) (?P<time>\d\d:\d\d:\d\d) GMT"
    r"|(?P<month2>[A-Z][a-z]{2}) (?P<day2>[ \d]\d) (?P<time2>\d\d:\d\d:\d\d) (?P<year2>\d{4})"
)
_YEAR_S = 365.25 * 86400
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def retry_after(headers: Mapping[str, str], *, now_s: float | None = None) -> float | None:
    """Seconds the server asked for: `retry-after-ms`, then `retry-after` as seconds, then as a date.

    A date needs `now_s` (seconds since the epoch). What is not a positive number of seconds is None.
    """
    named = {name.lower(): value for name, value in headers.items()}
    milliseconds = _seconds(named.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = named.get("retry-after", "")
    seconds = _seconds(value)
    if seconds is not None or now_s is None:
        return seconds
    date = _DATE.search(value)
    if date is None:
        return None
    part = {name.rstrip("2"): text for name, text in date.groupdict().items() if text is not None}
    try:
        year = int(part["year"])
        if year < 100:  # RFC 850: two digits mean the year nearest to now
            year += 100 * round((now_s / _YEAR_S + 1970 - year) / 100)
        hour, minute, second = map(int, part["time"].split(":"))
        month = _MONTHS.index(part["month"]) + 1
        moment = datetime(year, month, int(part["day"]), hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    wait = moment.timestamp() - now_s
    return wait if wait > 0 else None


def _seconds(text: str) -> float | None:
    """A positive decimal; `float` alone would take nan, inf, 1_0 and negatives too."""
    text = text.strip()
    if not re.fullmatch(r"\d{1,12}(?:\.\d*)?", text, re.ASCII):
        return None
    return float(text) or None


# What looks like a key. The last two keep the name and take the value.
_KEYS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?:(?:sk|gsk|xai|nvapi)[-_]|(?:hf|r8)_)(?:[\w*-]|\.(?=[\w.*])){3,}"), "***"),
    (re.compile(r"\bAIza[\w-]{8,}"), "***"),
    (re.compile(r"\b(bearer)\s+[^\s\"',;]+", re.I), r"\1 ***"),
    (
        re.compile(
            r"\b((?:x-)?(?:goog-)?api[ _-]?key(?: provided)?|authorization)([\"']?\s*[:=]\s*[\"']?)"
            r"(?!bearer)[^\s\"'&,;]*[^\s\"'&,;.]",
            re.I,
        ),
        r"\1\2***",
    ),
    (re.compile(r"\b((?:\w*_)?(?:key|token|secret|password)=[\"']?)[^\s\"'&,;]+", re.I), r"\1***"),
)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def clean(text: str, max_chars: int = MESSAGE_CHARS) -> str:
    """One line for people: keys masked, control characters gone, cut on a character boundary."""
    text = _UNPRINTABLE.sub(" ", text[:_LOOK_AT]).strip()
    for pattern, mask in _KEYS:
        text = pattern.sub(mask, text)
    return text[:max_chars].rstrip()


def excerpt(body: bytes, max_chars: int) -> str:
    """The beginning of a body nobody understood."""
    return clean(body[: 4 * _LOOK_AT].decode("utf-8", "replace"), max_chars)
