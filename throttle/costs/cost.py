"""What a call costs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call costs, as the API will report it in `usage`; what a server books of it is another figure.

    Attributes:
        requests: how many requests the call counts as.
        input_tokens: tokens of everything that goes in.
        output_tokens: tokens that come out: the maximum asked for, or else what is expected.
        images: images to be generated.
    """

    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    images: int = 0

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens
