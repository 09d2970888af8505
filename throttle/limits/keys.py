"""API keys as limits files know them: by their hash, never as they are."""

from __future__ import annotations

import hashlib

__all__ = ["HashedKey", "key_hash"]


def key_hash(key: str) -> str:
    """Give the SHA-256 of an API key in hex: what `key_hash` of an account holds, whole or its first 12 digits and
    more."""
    return hashlib.sha256(key.encode()).hexdigest()


class HashedKey:
    """What is left of a key that an environment variable held; None where it held none."""

    __slots__ = ("digest",)

    def __init__(self, key: str) -> None:
        self.digest = key_hash(key) if key else None
