"""Bells by which processes of one machine call one another: datagrams of one word on the loopback interface.

They carry nothing that is worth knowing, and whoever sends one without reason causes one question too many.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["LoopbackBells"]

HOST: Final = "127.0.0.1"
LONGEST: Final = 64
"""Bytes of the longest word."""


class LoopbackBells:
    """Hears with one socket, and rings with another. An address is a port."""

    def __init__(self) -> None:
        self._ear: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._last_word = secrets.token_hex(8).encode()
        self._mouth: socket.socket | None = None
        self._pid = os.getpid()

    def hear(self, called: Callable[[str], None]) -> str:
        """Hear in a thread, until `close`; returns the address, "" where that can't be done."""
        self._leave_to_parent()
        if self._ear is None or self._thread is None or not self._thread.is_alive():
            ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                ear.bind((HOST, 0))
                given = (ear, self._last_word, called)
                self._thread = threading.Thread(target=_listen, args=given, name="throttle-bell", daemon=True)
                self._thread.start()
            except (OSError, RuntimeError):
                ear.close()
                return ""
            self._ear = ear
        return str(self._ear.getsockname()[1])

    def ring(self, bells: Sequence[str]) -> None:
        """Ring bells, each an address, a slash and a word."""
        self._leave_to_parent()
        if self._mouth is None:
            self._mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for bell in bells:
            port, _, word = bell.rpartition("/")
            with contextlib.suppress(OSError, ValueError, OverflowError):  # one that isn't heard is no harm
                self._mouth.sendto(word.encode()[:LONGEST], (HOST, int(port)))

    def close(self) -> None:
        """Hear no more. May be used again."""
        self._leave_to_parent()
        ear, self._ear = self._ear, None
        mouth, self._mouth = self._mouth, None
        if ear is not None:  # its thread closes it: closing it here would not wake that up everywhere
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(self._last_word, ear.getsockname())
        if mouth is not None:
            mouth.close()

    def _leave_to_parent(self) -> None:
        """After a fork the ear is the parent's, whose thread listens."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            ear, self._ear = self._ear, None
            if ear is not None:
                ear.close()


def _listen(ear: socket.socket, last_word: bytes, called: Callable[[str], None]) -> None:
    with ear, contextlib.suppress(OSError):
        while (word := ear.recv(LONGEST)) != last_word:
            if word:  # an empty one is a stranger's
                called(word.decode("ascii", "replace"))
