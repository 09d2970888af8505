"""Where the levels live that several processes share: one store protocol, and the stores that ship."""

from throttle.stores.bells import LoopbackBells
from throttle.stores.opening import StoreAddress, open_store
from throttle.stores.protocol import Answer, BellStore, Exchange, Store

__all__ = ["Answer", "BellStore", "Exchange", "LoopbackBells", "Store", "StoreAddress", "open_store"]
