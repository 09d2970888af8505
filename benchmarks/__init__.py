"""What is promised, measured: `python -m benchmarks NAME`. Each benchmark is a module of this package."""
