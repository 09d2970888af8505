"""The handle of a running simulator: where it is, what it saw, and what to change while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Self

from throttle.simulator.errors import SettingsError, SimulatorError
from throttle.simulator.record import Call, Summary

__all__ = ["Simulator"]

PATIENCE_S = 30.0


class Simulator:
    """A simulator that runs somewhere on this machine. Leaving a `with` block stops it.

    Attributes:
        base_url: what an OpenAI client takes, `http://127.0.0.1:PORT/v1`.
        url: the server's root; Azure's paths begin there.
        port: the port it listens on.
    """

    def __init__(self, port: int, stop: Callable[[], None], *, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = port
        self.url = f"http://{host}:{port}"
        self.base_url = f"{self.url}/v1"
        self._stop = stop

    def __repr__(self) -> str:
        return f"<Simulator {self.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def summary(self) -> Summary:
        """Sum up what came since the start, or since the last `mark` or `reset`."""
        return Summary.of(self._ask("GET", "summary"))

    def calls(self, after: int = 0) -> list[Call]:
        """List every request seen, or those after the one of this number."""
        return [Call(**plain) for plain in self._ask("GET", f"calls?after={after}")]

    def settings(self) -> dict[str, Any]:
        """Tell the settings in force."""
        told: dict[str, Any] = self._ask("GET", "settings")
        return told

    def control(self, **changes: Any) -> None:
        """Change settings while it runs: limits, latency, faults, whatever `Settings` has. Levels stay.

        Raises:
            SettingsError: if one can't be used; then none is changed.
        """
        self._ask("POST", "settings", changes)

    def mark(self) -> None:
        """Sum up anew from the next call on; levels and the list of calls stay."""
        self._ask("POST", "mark")

    def reset(self, **changes: Any) -> None:
        """Begin anew, with levels as at the start and nothing on record, and with other settings where given."""
        self._ask("POST", "reset", changes)

    def stop(self) -> None:
        """Stop it, at once; what is under way is cut off. Stopping twice is fine."""
        self._stop()

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        connection = HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, f"/_throttle/{what}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise SimulatorError(
                f"the simulator at {self.url} does not answer ({error!r}): is it still running?"
            ) from error
        finally:
            connection.close()
        if answer.status == 400:
            raise SettingsError(told["error"])
        if answer.status != 200:
            raise SimulatorError(f"the simulator at {self.url} answered {answer.status} to {what}")
        return told
