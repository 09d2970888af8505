"""Clients that tests open, so that each can be closed when its test has ended."""

from __future__ import annotations

from openai import OpenAI

OPENED: list[OpenAI] = []


def opened(client: OpenAI) -> OpenAI:
    """Note a client that is to be closed when the test has ended."""
    OPENED.append(client)
    return client
