"""Pools whose levels live in a store that other processes share: the gate and the pool in front of it, the courier that
does the I/O, and what answers teach.
"""

from typing import Literal

__all__ = ["OnStoreError"]

OnStoreError = Literal["local", "closed", "open"]
"""What becomes of calls while the store can't be used."""
