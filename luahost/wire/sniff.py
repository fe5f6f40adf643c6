"""Stream or body? Told by how the bytes begin; the content type only breaks ties.

Servers label the one as the other, so the header alone is not to be believed. A stream begins with one of a
handful of field names; JSON and HTML begin otherwise. Pure, and knows no wire.
"""

from __future__ import annotations

from luahost.wire.sse import BOM

LOOK_AT = 4096  # bytes after which the content type has to tell what the beginning did not

_STREAM_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")


def is_stream(head: bytes, content_type: str, *, at_end: bool) -> bool | None:
    """`head`: the first bytes, at most LOOK_AT. None while they may still be either; never with `at_end`."""
    if len(head) < len(BOM) and BOM.startswith(head) and not at_end:
        return None
    may_wait = not at_end and len(head) < LOOK_AT
    said = content_type.strip().lower().startswith("text/event-stream")
    head = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if not head:
        return None if may_wait else said
    if head.startswith(_STREAM_BEGINNINGS):
        return True
    if any(beginning.startswith(head) for beginning in _STREAM_BEGINNINGS):
        return None if may_wait else True
    return said and head[:1] not in (b"{", b"[", b"<")
