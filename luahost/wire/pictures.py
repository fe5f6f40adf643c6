"""Pictures in what servers answer: a URL that holds the bytes, or one that only names them.

Knows no wire. Sources: LLM_WIRE.md A15; RFC 2397.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import Any

from luahost.wire.lenient import dicts
from luahost.wire.messages import ImageBlock, State

_DATA = re.compile(r"data:(image/[a-z0-9.+-]{1,40})(?:;[a-z0-9=-]{1,40})*;base64,([A-Za-z0-9+/=_\s-]+)", re.I)


def of_base64(media_type: str, text: str, state: State | None = None) -> ImageBlock | None:
    """None if it is no base64."""
    try:
        data = b64decode(re.sub(r"\s", "", text).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        return None
    return ImageBlock(media_type.lower(), data, state=state) if data else None


_URL_SAFE = str.maketrans("-_", "+/")


def of_url(url: str) -> ImageBlock | None:
    """A data URI's bytes with their type, or the address as it is; None if it is neither."""
    held = _DATA.fullmatch(url)
    if held is not None:
        return of_base64(held[1], held[2])
    return ImageBlock("", url=url) if re.match(r"https?://[^\s]+\Z", url) else None


def of_parts(parts: Any) -> list[ImageBlock]:
    """The pictures in a list of typed parts, `{"type": "image_url", "image_url": {"url": …}}`."""
    found = []
    for part in dicts(parts):
        where = part.get("image_url")
        url = where.get("url") if isinstance(where, dict) else where
        block = of_url(url) if isinstance(url, str) else None
        if block is not None:
            found.append(block)
    return found
