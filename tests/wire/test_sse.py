"""S1–S9, S12, S14 of LLM_WIRE.md on the SSE parser alone; the rest is the decoder's (test_openai)."""

from __future__ import annotations

import random
import time

import pytest
from decoding import bytewise
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.wire.sse import EventTooLarge, SSEEvent, SSEParser

Pairs = list[tuple[str, bytes]]


def pairs(events: list[SSEEvent]) -> Pairs:
    return [(event.event, event.data) for event in events]


def parse(*pieces: bytes, close: bool = True) -> Pairs:
    parser = SSEParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return pairs(events + (parser.close() if close else []))


@pytest.mark.parametrize("eol", [b"\n", b"\r", b"\r\n"])
def test_s1_lf_cr_and_crlf_end_lines(eol: bytes) -> None:
    stream = eol.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])
    expected = [("message", b"a\nb"), ("message", b"c")]
    assert parse(stream, close=False) == expected
    assert parse(*bytewise(stream), close=False) == expected


def test_s1_mixed_line_ends_in_one_stream() -> None:
    assert parse(b"data: a\r\ndata: b\n\rdata: c\r\r", close=False) == [
        ("message", b"a\nb"),
        ("message", b"c"),
    ]


def test_s1_crlf_split_across_feeds_is_not_a_blank_line() -> None:
    assert parse(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n", close=False) == [("message", b"a\nb")]


def test_s1_a_cr_that_ends_a_blank_line_dispatches_before_its_lf_comes() -> None:
    parser = SSEParser()
    assert pairs(parser.feed(b"data: a\r\n\r")) == [("message", b"a")]
    assert parser.feed(b"\n") == []
    assert pairs(parser.feed(b"data: b\n\n")) == [("message", b"b")]


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_s2_nothing_else_ends_a_line(char: str) -> None:
    data = f"a{char}data: b".encode()
    assert parse(b"data: " + data + b"\n\n") == [("message", data)]


def test_s3_a_character_split_at_every_offset_comes_whole() -> None:
    stream = "data: Grüße 東京 👋\n\n".encode()
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == [("message", "Grüße 東京 👋".encode())]


def test_s4_one_leading_bom_is_stripped_also_when_split() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"
    assert parse(stream) == parse(*bytewise(stream)) == [("message", b"a")]


def test_s4_a_second_or_later_bom_is_not_stripped() -> None:
    assert parse(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n") == [("message", b"b")]
    assert parse(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [("message", b"a")]


def test_s5_only_one_space_after_the_colon_is_dropped() -> None:
    assert parse(b"data:x\n\ndata: x\n\ndata:  x\n\n") == [
        ("message", b"x"),
        ("message", b"x"),
        ("message", b" x"),
    ]


def test_s5_data_without_colon_is_an_empty_line() -> None:
    assert parse(b"data\ndata: x\n\n") == [("message", b"\nx")]


def test_s5_unknown_fields_and_comments_are_ignored() -> None:
    assert parse(b": OPENROUTER PROCESSING\n\nfoo: bar\nDATA: x\n:\n\ndata: a\n\n") == [("message", b"a")]


def test_s6_event_name_resets_after_each_event() -> None:
    assert parse(b"event: ping\ndata: a\n\ndata: b\n\n") == [("ping", b"a"), ("message", b"b")]


def test_s6_an_event_name_without_data_is_not_dispatched_and_does_not_leak() -> None:
    assert parse(b"event: ping\n\ndata: b\n\n") == [("message", b"b")]


def test_s6_empty_data_is_not_dispatched() -> None:
    assert parse(b"data:\n\ndata: \n\ndata\n\n") == []


def test_s6_id_and_retry_change_nothing() -> None:
    assert parse(b"id: 7\nretry: 10\ndata: a\n\nid: a\0b\nretry: 1s\n\nid\ndata: b\n\n") == [
        ("message", b"a"),
        ("message", b"b"),
    ]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r"])
def test_s7_a_pending_event_is_flushed_at_the_end(end: bytes) -> None:
    assert parse(b"data: a\n\nevent: x\ndata: b" + end) == [("message", b"a"), ("x", b"b")]


def test_s9_a_thousand_events_in_one_piece_or_byte_by_byte_are_the_same() -> None:
    stream = b"".join(b"data: %d\n\n" % i for i in range(1000))
    expected = [("message", b"%d" % i) for i in range(1000)]
    assert parse(stream) == parse(*bytewise(stream)) == expected


def test_s9_a_giant_line_in_small_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        parser, piece = SSEParser(), b"x" * 64
        start = time.thread_time()
        parser.feed(b"data: ")
        for _ in range(size // 64):
            parser.feed(piece)
        assert len(parser.feed(b"\n\n")[0].data) == size
        return time.thread_time() - start

    small = min(seconds(64 * 1024) for _ in range(5))
    # 32 times the bytes; a quadratic parser would need 1024 times as long.
    assert seconds(2 * 1024 * 1024) < small * 32 * 8


@pytest.mark.parametrize("line", [b"data: " + b"x" * 100, b": " + b"x" * 120, b"data: xxxx\n" * 30])
def test_s9_an_event_over_the_cap_raises_however_it_is_cut_with_the_events_before_it(line: bytes) -> None:
    stream = b"data: a\n\n" + line + b"\n\n"
    for pieces in ([stream], bytewise(stream)):
        parser, seen = SSEParser(100), []
        with pytest.raises(EventTooLarge) as caught:
            for piece in pieces:
                seen += parser.feed(piece)
        assert pairs(seen + caught.value.events) == [("message", b"a")]


def test_s9_many_small_events_over_the_cap_together_are_fine() -> None:
    parser = SSEParser(100)
    assert len(parser.feed(b"data: abc\n\n" * 1000)) == 1000


def test_s12_the_error_field_of_llama_cpp_is_an_error_event() -> None:
    assert parse(b'error: {"code":500}\n\ndata: b\n\n') == [("error", b'{"code":500}'), ("message", b"b")]


def test_s14_a_blank_line_of_mixed_ends_dispatches_at_once() -> None:
    for stream in (b"data: a\n\r\n", b"data: a\r\n\n", b"data: a\r\n\r", b"data: a\n\r", b"data: a\r\r\n"):
        assert parse(stream, close=False) == [("message", b"a")], stream


def reference(stream: bytes) -> Pairs:
    """The standard's algorithm written slowly, line by line, with our three differences."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    out: Pairs = []
    name, data = "", []
    for line in [*stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if not line:
            if b"\n".join(data):
                out.append((name or "message", b"\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field in (b"data", b"error"):
            data.append(value)
            name = "error" if field == b"error" else name
    return out


TOKENS = st.sampled_from(
    [
        b"data",
        b"data: ",
        b"event",
        b":",
        b": ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"x",
        b"error: ",
        b"\xef\xbb\xbf",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TOKENS, max_size=30).map(b"".join), st.randoms(use_true_random=False))
def test_any_stream_at_any_cut_reads_as_the_standard_says(stream: bytes, rnd: random.Random) -> None:
    cuts = sorted(rnd.randrange(len(stream) + 1) for _ in range(rnd.randrange(6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(stream) == parse(*pieces) == parse(*bytewise(stream)) == reference(stream)
