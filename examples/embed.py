"""A Python program that runs a script: without a grant, with one, and after it was revoked.

Runs without any network: the model is EchoModel, a real HTTP server on loopback that answers from the prompt.
With a model of yours, name its provider in the Config instead.
"""

from __future__ import annotations

import trio

import luahost
from luahost.testing import EchoModel

SCRIPT = luahost.Source(
    """
    local ask = orcs.llm                        -- the same function before, under and after a grant
    return function(question)
      local answer = ask(question)
      if answer.ok then return answer.content end
      return "refused: " .. answer.error_kind
    end
    """,
    name="ask.lua",
)


async def main() -> None:
    with EchoModel() as model:
        echo = luahost.Provider(name="echo", base_url=model.url, model="echo")
        config = luahost.Config(providers={"echo": echo}, provider="echo")
        decisions: list[dict[str, object]] = []
        async with luahost.Host(config, audit=decisions.append) as host:
            vm = await host.load(SCRIPT)
            print("no grant:     ", await vm.run("Is anybody there?"))

            vm.grant(luahost.Grant.llm(max_calls=1))
            print("granted:      ", await vm.run("Is anybody there?"))
            print("budget used:  ", await vm.run("Still there?"))

            vm.revoke("llm")
            print("revoked:      ", await vm.run("And now?"))
        print("audit:        ", [f"{each['decision']} by {each['rule']}" for each in decisions])
        print("model was asked", model.calls, "time")


if __name__ == "__main__":
    trio.run(main)
