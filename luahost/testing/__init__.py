"""EchoModel: a model server that needs nothing. No key, no network, no model; real HTTP on a loopback port.

It speaks the OpenAI chat-completions wire (streamed and whole, tools, usage, the error envelope), and what it
says follows from the request alone: the same request gets the same bytes. So a demo runs on a machine with
nothing installed, and a test of the whole way from a script to a socket asserts exact words.

    with EchoModel() as echo:
        ...  # POST {echo.url}/v1/chat/completions; then look at echo.requests, echo.calls

    python -m luahost.testing --port 8080 --delay 0.05

`echo` is what is said, `server` how it is served; below them lie `http1` and `loopback`, on which tests build
servers that misbehave. The package does not know luahost: nothing above or below it is imported, nor an HTTP
client, nor an event loop.
"""

from __future__ import annotations

from luahost.testing.echo import default_reply, tokens
from luahost.testing.http1 import RawRequest, RequestReader, http_chunk, response_head
from luahost.testing.loopback import LoopbackServer, hung_up
from luahost.testing.server import EchoModel, Recorded

__all__ = [
    "EchoModel",
    "LoopbackServer",
    "RawRequest",
    "Recorded",
    "RequestReader",
    "default_reply",
    "http_chunk",
    "hung_up",
    "response_head",
    "tokens",
]
