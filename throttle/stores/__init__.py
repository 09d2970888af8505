"""Where the levels live that several processes share: one store protocol, and the stores that ship."""

from throttle.stores.opening import StoreAddress, open_store
from throttle.stores.protocol import Answer, Exchange, Store

__all__ = ["Answer", "Exchange", "Store", "StoreAddress", "open_store"]
