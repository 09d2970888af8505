"""What a call costs, and what a server books of it."""

from throttle.costs.call import CallCost, estimate
from throttle.costs.charges import CHARGES, default_charge
from throttle.costs.cost import Cost
from throttle.costs.history import OutputHistory
from throttle.costs.vocabulary import VocabularyError, encoding_for

__all__ = [
    "CHARGES",
    "CallCost",
    "Cost",
    "OutputHistory",
    "VocabularyError",
    "default_charge",
    "encoding_for",
    "estimate",
]
