"""Images for the model: bytes of the script's, files under its own grant of fs.read, URLs for a provider to fetch.

Bytes are told by how they begin. A URL is fetched by the provider, so it is one that means the same everywhere, and
a server inside this network gets none (plan.py). Sources: LLM_WIRE.md C1, U22.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.gate.hosts import parse_base_url
from luahost.gate.permits import Permit
from luahost.ops import results
from luahost.ops.files import calls as files
from luahost.ops.files import reach
from luahost.ops.results import Result
from luahost.ops.world import Share
from luahost.room import Part
from luahost.wire.messages import ImageBlock

MAX_IMAGES = 20
MAX_IMAGE_BYTES = 5 * 1024 * 1024


class Picture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image for the model: its bytes, a file, or the URL of one that the provider fetches itself."""

    media_type: str | None = None
    data: Any = None  # text as bytes are in Lua: a str when they happen to be valid UTF-8
    url: str | None = None
    path: str | None = None


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_MEDIA_TYPE = re.compile(r"image/[a-z0-9.+-]{1,40}")


def problems(pictures: Sequence[Picture]) -> Iterator[Result]:
    """invalid_options for each that is wrong as it stands; a file is not looked at yet."""
    if len(pictures) > MAX_IMAGES:
        yield results.invalid("images", f"at most {MAX_IMAGES} expected, got {len(pictures)}")
    for number, picture in enumerate(pictures, 1):
        field = f"images[{number}]"
        given = [name for name in ("path", "data", "url") if getattr(picture, name) is not None]
        media_type = picture.media_type
        if len(given) != 1:
            yield results.invalid(field, f"one of data, url, path expected, got {' and '.join(given) or 'none'}")
        elif media_type is not None and not _MEDIA_TYPE.fullmatch(media_type):
            yield results.invalid(f"{field}.media_type", f"a type like image/png expected, got {media_type!r:.80}")
        elif picture.path is None:
            made = _block(picture, field)
            if isinstance(made, dict):
                yield made


async def blocks(
    pictures: Sequence[Picture], permits: Sequence[Permit[Any]], share: Share, part: Part
) -> list[ImageBlock] | Result:
    """The images as they go into the user's turn; or why one of them cannot. `permits`: of the files, in order."""
    made: list[ImageBlock] = []
    of_files = iter(permits)
    for number, picture in enumerate(pictures, 1):
        field = f"images[{number}]"
        block = _block(picture, field)
        if picture.path is not None:
            content = await _read(next(of_files), share)
            if isinstance(content, dict):
                return content
            if not part.take(len(content)):
                return results.error("too_large", f"{field}: {part.refusal}")
            block = _of_bytes(picture, content, f"{field}.path")
        if isinstance(block, dict):
            return block
        made.append(block)
    return made


async def _read(permit: Permit[Any], share: Share) -> bytes | Result:
    place = reach.Reach(permit, share.world.monotonic_s())

    def act() -> bytes:
        with place.spot() as spot:
            return files.whole(permit, spot)

    async with share.reading:
        content = await reach.in_thread(act)
    if isinstance(content, bytes):
        files.settle(permit, len(content))
    return content


def _block(picture: Picture, field: str) -> ImageBlock | Result:
    if picture.url is not None:
        return _linked(picture, field)
    data = picture.data
    if not isinstance(data, str | bytes):
        return results.invalid(f"{field}.data", "bytes expected")
    return _of_bytes(picture, data if isinstance(data, bytes) else data.encode(), f"{field}.data")


def _of_bytes(picture: Picture, data: bytes, field: str) -> ImageBlock | Result:
    if not data or len(data) > MAX_IMAGE_BYTES:
        return results.invalid(field, f"1 to {MAX_IMAGE_BYTES} bytes expected, got {len(data)}")
    found = next((media for magic, media in _MAGIC if data.startswith(magic)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = "image/webp"
    if picture.path is not None and found is None:  # a file that is none is not sent off, whatever it is called
        return results.invalid(field, "the file is no PNG, JPEG, GIF or WebP")
    media_type = picture.media_type or found
    if media_type is None:
        named = field.rpartition(".")[0] + ".media_type"
        return results.invalid(named, "is missing, and the bytes are no PNG, JPEG, GIF or WebP")
    return ImageBlock(media_type, data)


def _linked(picture: Picture, field: str) -> ImageBlock | Result:
    """Not one that only means something inside a network (U22)."""
    url = picture.url or ""
    wanted = "an https URL of a public host without user name expected"
    if len(url) > 2000 or not url.isprintable() or " " in url or not url.startswith("https://"):
        return results.invalid(f"{field}.url", wanted)
    try:
        origin, _ = parse_base_url("https://" + re.split(r"[/?#]", url[8:], maxsplit=1)[0])
    except ConfigError as error:
        return results.invalid(f"{field}.url", error.message.removeprefix("base_url: "))
    if origin.is_literal or origin.is_loopback or "." not in origin.host:
        return results.invalid(f"{field}.url", f"{wanted}, got the host {origin.host!r}")
    return ImageBlock(picture.media_type or "image/*", url=url)
