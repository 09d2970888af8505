"""What can be wrong with a job itself, as opposed to one of its requests."""

from __future__ import annotations

from throttle.errors import Mistake, ThrottleError

__all__ = ["JobFileError", "JobStopped", "OutputError"]


class JobFileError(ThrottleError, ValueError):
    """A job file with mistakes; nothing was sent.

    Attributes:
        source: the file's name.
        mistakes: the first of them, each with its line.
        count: how many there are in all.
    """

    def __init__(self, source: str, mistakes: list[Mistake], count: int | None = None) -> None:
        self.source = source
        self.mistakes = tuple(mistakes)
        self.count = len(mistakes) if count is None else count
        texts = [
            f"{source}:{mistake.line}: {mistake.what}" if mistake.line else f"{source}: {mistake.what}"
            for mistake in mistakes
        ]
        if self.count > len(mistakes):
            texts.append(f"{source}: and {self.count - len(mistakes):,} more mistakes")
        super().__init__("\n".join(texts))


class OutputError(ThrottleError):
    """The file of answers can't be written or isn't one; whatever it held before is untouched."""


class JobStopped(ThrottleError):
    """The job can't go on, for a reason that the next line would meet too; the answers so far are kept.

    Attributes:
        reason: what stopped it, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
