"""Durations as the API prints them: the way Go does, `17ms`, `6m0s`, `83h10m39.057s`."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["cut_to_ms", "go_duration", "raised_to_ms"]


def cut_to_ms(seconds: Fraction) -> int:
    """Round `seconds` down to whole milliseconds, as the API does with resets of tokens and with the waits it tells."""
    return seconds.numerator * 1000 // seconds.denominator


def raised_to_ms(seconds: Fraction) -> int:
    """Round `seconds` up to whole milliseconds, as the API does with resets of requests."""
    return -(-seconds.numerator * 1000 // seconds.denominator)


def go_duration(milliseconds: int) -> str:
    """Print a duration of whole milliseconds like Go's `time.Duration`: the largest unit first, none that is needless
    in front.
    """
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest_ms = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, rest_ms = divmod(rest_ms, 1000)
    text = f"{seconds}.{rest_ms:03d}".rstrip("0") + "s" if rest_ms else f"{seconds}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
