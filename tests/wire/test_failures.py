"""Table 2 of §2.5, row by row, on every dialect's envelope; masking, cutting, Retry-After."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.wire import failures
from luahost.wire.failures import classify, classify_in_band, clean, retry_after

RECORDINGS = Path(__file__).parent.parent / "recordings"


def openai(message: str = "m", *, type: Any = None, code: Any = None, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": type, "param": None, "code": code} | more}).encode()


def gemini(status: str, *details: dict[str, Any], message: str = "m") -> bytes:
    return json.dumps({"error": {"code": 0, "message": message, "status": status, "details": details}}).encode()


def anthropic(type: str, message: str = "m") -> bytes:
    return json.dumps({"type": "error", "error": {"type": type, "message": message}}).encode()


PER_DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
PER_MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}

# (row, status, body, kind, retryable)
CELLS: list[tuple[str, int, bytes, str, bool]] = [
    ("401", 401, openai(type="invalid_request_error", code="invalid_api_key"), "auth_error", False),
    ("401 without a body", 401, b"", "auth_error", False),
    ("403 without moderation", 403, openai(), "auth_error", False),
    ("anthropic permission_error", 403, anthropic("permission_error"), "auth_error", False),
    (
        "gemini API_KEY_INVALID",
        400,
        gemini("INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}),
        "auth_error",
        False,
    ),
    ("402", 402, openai(code=402), "quota", False),
    ("429 insufficient_quota type", 429, openai(type="insufficient_quota"), "quota", False),
    (
        "429 insufficient_quota code",
        429,
        openai(type="rate_limit_error", code="insufficient_quota"),
        "quota",
        False,
    ),
    ("429 spend limit", 429, openai(code="project_spend_limit_exceeded"), "quota", False),
    ("429 credit balance", 429, openai(code="credit_balance_exhausted"), "quota", False),
    ("429 usage limit", 429, openai(code="organization_usage_limit_exceeded"), "quota", False),
    ("anthropic billing_error", 402, anthropic("billing_error"), "quota", False),
    ("anthropic spend limit", 400, anthropic("enforced_spend_limit_reached"), "quota", False),
    ("gemini PerDay in violations", 429, gemini("RESOURCE_EXHAUSTED", PER_DAY), "quota", False),
    ("gemini PerMinute", 429, gemini("RESOURCE_EXHAUSTED", PER_MINUTE), "rate_limit", True),
    (
        "gemini prose about quota",
        429,
        gemini("RESOURCE_EXHAUSTED", message="check quota"),
        "rate_limit",
        True,
    ),
    ("429", 429, openai(type="requests", code="rate_limit_exceeded"), "rate_limit", True),
    ("429 plain text", 429, b"slow down", "rate_limit", True),
    ("429 whose prose has a context in it", 429, openai("per context window limit"), "rate_limit", True),
    (
        "openrouter 402 in flight",
        402,
        openai(code=402, metadata={"limit_source": "openrouter_in_flight_budget"}),
        "rate_limit",
        True,
    ),
    ("529", 529, openai(type="overloaded_error"), "overloaded", True),
    ("503 server_is_overloaded", 503, openai(code="server_is_overloaded"), "overloaded", True),
    ("llama.cpp loading", 503, openai(type="unavailable_error", code=503), "overloaded", True),
    ("503 plain", 503, b"<html>down</html>", "overloaded", True),
    ("gemini UNAVAILABLE", 503, gemini("UNAVAILABLE"), "overloaded", True),
    ("500", 500, openai(type="server_error"), "server_error", True),
    ("502 html", 502, b"<html><h1>Bad Gateway</h1></html>", "server_error", True),
    ("504", 504, anthropic("timeout_error"), "server_error", True),
    ("520 of Cloudflare", 520, b"", "server_error", True),
    ("408", 408, b"", "server_error", True),
    (
        "501 is not worth a second try",
        501,
        openai(type="not_supported_error", code=501),
        "server_error",
        False,
    ),
    ("context_length_exceeded", 400, openai(code="context_length_exceeded"), "context_overflow", False),
    ("llama.cpp context", 400, openai(type="exceed_context_size_error", code=400), "context_overflow", False),
    (
        "llama.cpp context, older",
        500,
        openai("the request exceeds the available context size"),
        "context_overflow",
        False,
    ),
    (
        "vLLM context",
        400,
        openai("This model's maximum context length is 10 tokens"),
        "context_overflow",
        False,
    ),
    (
        "anthropic context",
        400,
        anthropic("invalid_request_error", "prompt is too long: 9 > 1"),
        "context_overflow",
        False,
    ),
    (
        "gemini context",
        400,
        gemini(
            "INVALID_ARGUMENT",
            message="The input token count (9) exceeds the maximum number of tokens allowed (1)",
        ),
        "context_overflow",
        False,
    ),
    ("413", 413, anthropic("request_too_large"), "too_large", False),
    ("413 called a rate", 413, openai(type="tokens", code="rate_limit_exceeded"), "too_large", False),
    ("content_filter code", 400, openai(code="content_filter"), "content_filter", False),
    ("content policy", 400, openai(code="content_policy_violation"), "content_filter", False),
    (
        "openrouter 403 moderation",
        403,
        openai(code=403, metadata={"reasons": ["x"]}),
        "content_filter",
        False,
    ),
    ("400", 400, openai(type="invalid_request_error"), "invalid_request", False),
    (
        "422 of FastAPI",
        422,
        b'{"detail":[{"loc":["body","n"],"msg":"bad","type":"int"}]}',
        "invalid_request",
        False,
    ),
    ("404", 404, openai(type="not_found_error", code=404), "not_found", False),
    ("404 of an unknown model", 404, openai(code="model_not_found"), "not_found", False),
    ("ollama's unknown model", 404, b'{"error":"model \'x\' not found"}', "not_found", False),
    ("409", 409, b"", "http_error", True),
    ("418", 418, b"", "http_error", False),
    ("302 is not followed", 302, b"", "http_error", False),
]


@pytest.mark.parametrize(("status", "body", "kind", "retryable"), [c[1:] for c in CELLS], ids=[c[0] for c in CELLS])
def test_table_of_error_kinds(status: int, body: bytes, kind: str, retryable: bool) -> None:
    failure = classify(status, {}, body)
    assert (failure.kind, failure.retryable, failure.status) == (kind, retryable, status)
    assert failure.message.startswith(f"HTTP {status}: ")


# (frame, kind): the same words inside a 200, where no status helps
IN_BAND: list[tuple[Any, str]] = [
    ({"error": {"message": "m", "code": 429}}, "rate_limit"),
    ({"error": {"message": "m", "code": "429"}}, "rate_limit"),
    ({"error": {"message": "m", "code": "429", "type": "None"}}, "rate_limit"),
    ({"error": {"message": "m", "code": 402}}, "quota"),
    ({"error": {"message": "m", "code": 502}}, "server_error"),
    ({"error": {"message": "m", "code": 400, "type": "exceed_context_size_error"}}, "context_overflow"),
    ({"error": {"message": "m", "code": "content_filter"}}, "content_filter"),
    ({"error": {"message": "blocked by our safety filter"}}, "content_filter"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
    ({"type": "error", "error": {"type": "api_error", "message": "m"}}, "server_error"),
    ({"error": {"type": "invalid_request_error", "message": "m"}}, "invalid_request"),
    ({"error": "out of memory"}, "server_error"),
    ({"error": {"code": 1113, "message": "m"}}, "server_error"),
    ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "invalid_request"),
    ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}], "rate_limit"),
    ("it broke", "server_error"),
    (None, "server_error"),
]


@pytest.mark.parametrize(("error", "kind"), IN_BAND)
def test_u6_an_error_inside_a_200_is_classified_by_its_words(error: Any, kind: str) -> None:
    failure = classify_in_band(error)
    assert failure.kind == kind
    assert failure.message
    assert not failure.message.startswith("HTTP")


@pytest.mark.parametrize("dialect", ["aimock", "llama-server-bigram"])
def test_recorded_errors_of_all_dialects_map_to_their_kind(dialect: str) -> None:
    expected = {
        "_err401": "auth_error",
        "_err429": "rate_limit",
        "_err500": "server_error",
        "_err529": "overloaded",
        "err_401": "auth_error",
        "err_404": "not_found",
        "err_context": "context_overflow",
        "err_badjson": "invalid_request",
        "err_badtype": "invalid_request",
        "err_badtools": "server_error",
    }
    seen = 0
    for line in (RECORDINGS / dialect / "index.jsonl").read_text().splitlines():
        row = json.loads(line)
        kind = next((k for word, k in expected.items() if word in row["case"]), None)
        files = list((RECORDINGS / dialect).glob(row["case"] + ".json"))
        if kind is None or not files or row["status"] < 400:
            continue
        failure = classify(row["status"], row["response_headers"], files[0].read_bytes())
        assert failure.kind == kind, row["case"]
        assert failure.retryable == (kind in failures.RETRYABLE)
        seen += 1
    assert seen >= 8


def test_code_and_param_are_kept() -> None:
    failure = classify(400, {}, openai(type="invalid_request_error", code="unsupported_value", param="temperature"))
    assert (failure.kind, failure.provider_code, failure.param) == (
        "invalid_request",
        "unsupported_value",
        "temperature",
    )
    assert classify(422, {}, b'{"detail":[{"loc":["body","n"],"msg":"bad"}]}').param == "body.n"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"a message"}}', "a message"),
        (b'{"error":"a text"}', "a text"),
        (b'{"detail":"a detail"}', "a detail"),
        (b'{"detail":[{"loc":[],"msg":"one"},{"msg":"two"}]}', "one; two"),
        (b'{"object":"error","message":"flat"}', "flat"),
        (b'{"errors":[{"code":7003,"message":"cloudflare"}]}', "cloudflare"),
        (b'[{"error":{"message":"wrapped"}}]', "wrapped"),
        (b'event: error\ndata: {"error":{"message":"framed"}}\n\n', "framed"),
        (b"plain \x1b[31mtext\r\n", "plain [31mtext"),
        (b"<html>\n<b>no</b>", "<html> <b>no</b>"),
        (b"", "(no text in the answer)"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (
            b'{"error":{"message":"Provider returned error","metadata":{"raw":"why"}}}',
            "Provider returned error (why)",
        ),
    ],
)
def test_o20_the_message_is_the_envelopes_or_an_excerpt(body: bytes, text: str) -> None:
    assert classify(418, {}, body).message == f"HTTP 418: {text}"


def test_o20_the_message_is_cut_at_500_characters_not_bytes() -> None:
    assert classify(400, {}, openai("é" * 900)).message == "HTTP 400: " + "é" * 500
    assert len(classify(400, {}, b"\xf0\x9f\x91\x8b" * 900).message) == 510


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Incorrect API key provided: sk-proj-abc_123*****wxyz. See", "Incorrect API key provided: ***. See"),
        ("Authorization: Bearer abc.def-123 was", "Authorization: Bearer *** was"),
        ("GET /v1?key=AIzaSyA-1234567890&alt=sse", "GET /v1?key=***&alt=sse"),
        ("GET /v1?api_key=abcdef", "GET /v1?api_key=***"),
        ("x-api-key: 0123", "x-api-key: ***"),
        ('{"api_key": "s3cret"}', '{"api_key": "***"}'),
        ("a risk-based task-force", "a risk-based task-force"),
        ("Missing key: messages", "Missing key: messages"),
    ],
)
def test_u3_what_looks_like_a_key_is_masked(text: str, masked: str) -> None:
    assert clean(text) == masked


def test_u3_a_key_at_the_cut_leaves_no_part_of_itself() -> None:
    assert "sk-" not in classify(401, {}, openai("x" * 495 + " sk-abcdefghijklmnop")).message


NOW_S = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sun Nov  6 08:49:47 1994"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:27 GMT"}, None),
        ({"retry-after": "Sun, 99 Nov 1994 08:49:27 GMT"}, None),
        ({"retry-after": "Sun, 06 Foo 1994 08:49:27 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_t1_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now_s=NOW_S) == seconds


def test_t1_a_date_without_a_clock_is_not_understood() -> None:
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}) is None


def test_w30_geminis_retry_delay_counts_where_no_header_does() -> None:
    body = gemini("RESOURCE_EXHAUSTED", {"retryDelay": "45.837906927s"})
    assert classify(429, {}, body).retry_after_s == 45.837906927
    assert classify(429, {"retry-after": "3"}, body).retry_after_s == 3.0


KEYS = ["error", "errors", "message", "code", "type", "status", "detail", "details", "metadata", "raw"]
KEYS += ["param", "loc", "msg", "reason", "retryDelay", "violations", "quotaId"]
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.integers(100, 599), JSONISH.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=60))
def test_any_body_gives_a_failure_with_one_printable_line(status: int, body: bytes) -> None:
    for failure in (classify(status, {}, body), classify_in_band(body.decode("latin-1"))):
        assert failure.kind
        assert "\n" not in failure.message
        failure.message.encode()


@settings(max_examples=100, deadline=None)
@given(JSONISH)
def test_any_value_in_band_gives_a_failure(value: Any) -> None:
    assert classify_in_band(value).message
