"""A wire's body becomes a request: the last step, the same on every wire, and the only one that knows the extras.

`extra_body` is laid over the body member by member, so that a caller can reach what has no option here;
`extra_headers` stand beside the wire's own. What belongs to the transport, and what a key travels in, cannot be
set so. Knows no wire. Sources: LLM_WIRE.md C1, C4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from luahost.wire.messages import Dropped, Options, Request

encode_json = msgspec.json.Encoder().encode

RESERVED_HEADERS = re.compile(
    r"accept(?:-encoding)?|authorization|connection|content-(?:length|type)|cookie|expect|host|keep-alive|te|trailer"
    r"|transfer-encoding|upgrade|proxy-.*|(?:x-|x-goog-)?api-key",
    re.I,
)
"""Never taken from a caller."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[ -~]{0,2000}")


def post(
    path: str,
    body: dict[str, Any],
    options: Options,
    dropped: list[Dropped],
    *,
    stream_type: str = "text/event-stream",
    headers: Mapping[str, str] | None = None,
) -> Request:
    """The request of this body. `headers`: the wire's own, beside those every request has."""
    if options.extra_body:
        _lay(body, options.extra_body)
    sent = {
        "Content-Type": "application/json",
        "Accept": stream_type if options.stream else "application/json",
        **(headers or {}),
    }
    dropped = dropped + _add(sent, options.extra_headers or {})
    return Request("POST", path, sent, encode_json(body), dropped)


def _lay(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        beneath = under.get(name)
        if isinstance(beneath, dict) and isinstance(value, dict):
            _lay(beneath, value)
        else:
            under[name] = value


def _add(sent: dict[str, str], extra: Mapping[str, str]) -> list[Dropped]:
    """A list-like header of the wire's own, anthropic-beta, grows; any other stands as it is."""
    own = {name.lower(): name for name in sent}
    refused = []
    for name, value in extra.items():
        mine = own.get(name.lower())
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            refused.append(Dropped("extra_headers", f"{name[:80]!r} is no header; it was not sent"))
        elif name.lower() == "anthropic-beta" and mine is not None:
            sent[mine] = f"{sent[mine]},{value}"
        elif mine is not None or RESERVED_HEADERS.fullmatch(name):
            refused.append(Dropped("extra_headers", f"may not set {name}; it was not sent"))
        else:
            sent[name] = value
    return refused


def no_place(options: Options, **why: str) -> list[Dropped]:
    """Those of these options that are set, for none of which the wire has a word. name=how: as in Dropped."""
    return [Dropped(name, how) for name, how in why.items() if _is_set(getattr(options, name))]


def _is_set(value: Any) -> bool:
    return value is not None and value not in ([], {})


ONLY_OLLAMA = 'is said on Ollama\'s own wire only (wire = "ollama"); it was not sent'
ONLY_GATEWAYS = "is for OpenRouter only; it was not sent"
NO_MARKS = "is not asked for on this wire, which keeps prefixes by itself; it was not sent"
