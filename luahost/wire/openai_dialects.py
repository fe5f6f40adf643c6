"""Who speaks the OpenAI wire, and with which accent: a table, one row for a server that differs.

A row says what a server has no word for, or calls otherwise; which of its models take what is the business of
models.toml. A server without a row is spoken to in what all of them understand.

Knows no conversation. Sources: LLM_WIRE.md W4 to W7, W27, W31, W36, W37; the vendors' API references, November
2026.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from luahost.wire import models


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one server is spoken to. The default is what every compatible server understands.

    facts          what its models take; None: the table that ships for servers that are not OpenAI
    official       OpenAI itself, which has the Responses API beside this one
    stream_usage   usage in a stream is to be asked for
    thinking       how reasoning is told: reasoning_effort; OpenRouter's `reasoning`; an argument of the chat
                   template; or `thinking` on and off
    lacks          options it has no field for, or reads and forgets
    schema         response_format of type json_schema is taken
    images         it fetches pictures by URL, or wants them in the request
    gateway        it passes requests on, and is told to whom
    echoes         what of a kept turn it wants back: names in the block's state
    call_ids       "mistral": exactly nine letters and digits
    text_after_results  a user's text may stand behind tool results
    seed_field     what it calls seed
    """

    facts: models.Table[models.Gpt] | None = None
    official: bool = False
    stream_usage: bool = True
    system_role: Literal["system", "developer"] = "system"
    thinking: Literal["effort", "reasoning", "template", "switch"] = "effort"
    lacks: frozenset[str] = frozenset()
    schema: bool = True
    images: Literal["any", "inline"] = "any"
    gateway: bool = False
    echoes: frozenset[str] = frozenset()
    call_ids: Literal["any", "mistral"] = "any"
    text_after_results: bool = True
    seed_field: str = "seed"


# A signature is Google's, whose OpenAI surface has no provider of its own here.
COMPATIBLE = Dialect(echoes=frozenset({"extra_content"}))

# `system` also for reasoning models: the API reads it as `developer`, and servers behind a base_url that
# only look like OpenAI refuse `developer`.
OPENAI = Dialect(official=True)

OPENROUTER = Dialect(thinking="reasoning", gateway=True, echoes=frozenset({"reasoning_details"}))

OLLAMA = Dialect(lacks=frozenset({"tool_choice", "parallel_tool_calls"}), images="inline")

DEEPSEEK = Dialect(
    thinking="switch",
    lacks=frozenset({"seed", "parallel_tool_calls"}),
    schema=False,
    echoes=frozenset({"reasoning_content"}),
)

MISTRAL = Dialect(stream_usage=False, call_ids="mistral", text_after_results=False, seed_field="random_seed")

DIALECTS: dict[str, Dialect] = {
    "openai": OPENAI,
    "openrouter": OPENROUTER,
    "ollama": OLLAMA,
    "deepseek": DEEPSEEK,
    "mistral": MISTRAL,
    "groq": Dialect(schema=False),  # few of its models take one; all call tools
    "llamacpp": Dialect(thinking="template"),
    "vllm": Dialect(thinking="template"),
}
"""By the provider's name."""


def dialect_of(provider: str) -> Dialect:
    return DIALECTS.get(provider, COMPATIBLE)
