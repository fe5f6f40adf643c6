"""The floor of wires: events of about 330 bytes, as each wire streams them, decoded in the host."""

from __future__ import annotations

import time

from figures import Figure, Report, digits

from luahost.wire.events import End, Text
from luahost.wire.messages import Conversation, Message, Options
from luahost.wire.wires import wire

PIECE_BYTES = 16 * 1024

_PAD = "x" * 150
# wire: what begins the stream, one event with a text, what ends it
STREAMS: dict[str, tuple[str, str, str]] = {
    "openai": (
        "",
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","obfuscation":"'
        + _PAD
        + '",'
        '"choices":[{"index":0,"delta":{"content":"hello "},"logprobs":null,"finish_reason":null}],"usage":null}\n\n',
        'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    "openai-responses": (
        'event: response.created\ndata: {"type":"response.created","response":{"id":"r","model":"m"}}\n\n'
        'event: response.output_item.added\ndata: {"type":"response.output_item.added","output_index":0,'
        '"item":{"type":"message","id":"i","role":"assistant","content":[]}}\n\n',
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"i","output_index":0,'
        '"content_index":0,"sequence_number":1,"obfuscation":"' + _PAD + '","delta":"hello "}\n\n',
        'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","model":"m",'
        '"status":"completed","output":[{"type":"message","id":"i","role":"assistant",'
        '"content":[{"type":"output_text","text":"hello "}]}]}}\n\n',
    ),
    "anthropic": (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"m","usage":{"input_tokens":1}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":""}}\n\n',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"pad":"' + _PAD + '",'
        '"delta":{"type":"text_delta","text":"hello "}}\n\n',
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    "gemini": (
        "",
        'data: {"candidates":[{"content":{"parts":[{"text":"hello "}],"role":"model"},"index":0}],"modelVersion":"m",'
        '"responseId":"' + _PAD + '","usageMetadata":{"promptTokenCount":1,"totalTokenCount":2}}\r\n\r\n',
        'data: {"candidates":[{"content":{"parts":[{"text":"."}],"role":"model"},"finishReason":"STOP"}]}\r\n\r\n',
    ),
    "ollama": (
        "",
        '{"model":"m","created_at":"2026-01-01T00:00:00.000000Z","pad":"' + _PAD + '",'
        '"message":{"role":"assistant","content":"hello "},"done":false}\n',
        '{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":1}\n',
    ),
}


def measure(report: Report, *, quick: bool) -> None:
    events, rounds = (1000, 3) if quick else (4000, 9)
    for name, (head, event, tail) in STREAMS.items():
        data = (head + event * events + tail).encode()
        costs = [_decoded(report, name, data, events) for _ in range(rounds)]
        rate = 1 / Figure(costs).median
        what = f"the wire {name}: events decoded, per second of CPU"
        report.row(what, f"{digits(rate)} a second", "≥ 300,000 a second", rate >= 300_000)


def _decoded(report: Report, name: str, data: bytes, events: int) -> float:
    """Seconds of CPU for one event."""
    kind = "application/x-ndjson" if name == "ollama" else "text/event-stream"
    exchange = wire(name, name).exchange(Conversation([Message("user", "x")]), Options(model="m", stream=True))
    decoder = exchange.decoder(status=200, headers={"content-type": kind}, now_s=0.0)
    used, texts, end = time.process_time(), 0, None
    for at in range(0, len(data), PIECE_BYTES):
        for event in decoder.feed(data[at : at + PIECE_BYTES]):
            texts += type(event) is Text
            end = event
    used = time.process_time() - used
    if not decoder.ended:
        end = decoder.close()[-1]
    report.expect(texts >= events, f"{name}: {texts} texts of {events}")
    report.expect(isinstance(end, End) and end.failure is None, f"{name}: it ended as {end}")
    return used / events
