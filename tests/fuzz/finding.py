"""What a fuzz target raises when an invariant broke, with all that is needed to see it again."""

from __future__ import annotations


class Finding(AssertionError):
    """`what` broke, on `input`; `executions` were done before it."""

    def __init__(self, what: str, input: str | bytes, executions: int = 0) -> None:
        super().__init__(f"{what}\n── input ──\n{input if isinstance(input, str) else input.hex()}\n───────────")
        self.executions = executions
