"""What a call is to reserve by the API's own guide: the prompt's tokens and the most that may be answered.

Written out here, as everybody who uses a limiter without an estimate writes it; only the vocabulary files are ours, so
that nothing has to be downloaded.
"""

from __future__ import annotations

from benchmarks.contenders.contract import Body
from throttle.costs.vocabulary import encoding_for

__all__ = ["tokens_of"]

PER_MESSAGE = 3
PER_ANSWER = 3


def tokens_of(body: Body) -> int:
    """Count the tokens of a chat's messages, by the vocabulary of its model, and add `n` times `max_tokens`."""
    encoding = encoding_for(body["model"])
    count = PER_ANSWER
    for message in body["messages"]:
        count += PER_MESSAGE + sum(len(encoding.encode(str(value))) for value in message.values())
    return count + int(body.get("n", 1)) * int(body.get("max_tokens", 0))
