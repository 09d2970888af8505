"""What a limiter needs to share its pools: the store, and how a pool is kept there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from throttle.meter import Meter
from throttle.shared import OnStoreError
from throttle.shared.courier import Courier
from throttle.shared.gate import SharedGate
from throttle.shared.pool import SharedPool
from throttle.stores.opening import NAMESPACE, StoreAddress
from throttle.stores.protocol import Store

if TYPE_CHECKING:
    from throttle.limiter import Limiter

__all__ = ["Sharing"]


class Sharing:
    """Makes the gates of shared pools, all served by one courier."""

    def __init__(self, store: Store, namespace: str, on_store_error: OnStoreError, identity: str) -> None:
        """Share pools in a store.

        Args:
            store: where levels live.
            namespace: what keys begin with.
            on_store_error: what becomes of calls while it is away.
            identity: what makes the limiter's own account; only its hash is kept.
        """
        self.courier = Courier(store, on_store_error)
        self._namespace = namespace
        self._own = _hash(identity) if identity else "own"

    @classmethod
    def of(cls, store: str | Store | None, on_store_error: OnStoreError, identity: str) -> Sharing | None:
        """Make what a limiter's `store` asks for; None where nothing is shared.

        Raises:
            StoreError: the URL names no store, or what it needs isn't installed.
        """
        if store is None:
            return None
        if not isinstance(store, str):
            return cls(store, NAMESPACE, on_store_error, identity)
        address = StoreAddress.parse(store)
        if address.is_memory:
            return None
        return cls(address.open(), address.namespace, on_store_error, identity)

    def serve(self, limiter: Limiter) -> None:
        """Serve a limiter's pools from now on."""
        self.courier.serve(limiter)

    def gate(
        self, name: str, account: str, pools: tuple[str, ...], meters: tuple[Meter, ...], *, restless: bool
    ) -> SharedGate:
        """Make the gate of a pool.

        Args:
            name: the pool's name.
            account: the hash of whose it is; "" for the limiter's own.
            pools: the names of the pools of the limits file that it is made of.
            meters: their meters.
            restless: as for any gate.
        """
        key = f"{self._namespace}:{account or self._own}:{'+'.join(_word(pool) for pool in pools)}"
        courier = self.courier
        process, label = courier.start_anew()  # if this is another process than the one that made it
        pool = SharedPool(name, meters, key=key, process=process, label=label)
        return SharedGate(pool, courier, restless=restless)


def _word(name: str) -> str:
    """Write a pool's name so that it can stand in a key: as it is, where it has no signs that mean something there."""
    return name if all(c.isalnum() or c in "-._" for c in name) else _hash(name)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
