"""The wire: a wrapped client against a plain one, over real HTTP."""
