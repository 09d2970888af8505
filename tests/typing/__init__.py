"""The typing contract: files that type checkers run."""
