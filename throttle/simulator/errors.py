"""Errors of the simulator; all of them are the user's to mend, so each is one line with the remedy."""

from __future__ import annotations

from throttle.errors import ThrottleError

__all__ = ["SettingsError", "SimulatorError"]


class SimulatorError(ThrottleError):
    """The simulator can't be started or reached: a port that is taken, an extra that isn't installed, a process that
    died.
    """


class SettingsError(SimulatorError, ValueError):
    """A setting of the simulator that can't be used."""
