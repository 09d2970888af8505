"""Run one benchmark: `python -m benchmarks NAME …`; without a name, list them.

A benchmark is a module of this package with `add_arguments(parser)` and `run(arguments) -> int`; only the one that is
asked for is imported. The packages inside are what benchmarks share.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark that the arguments name; returns its exit code."""
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if not module.ispkg and not module.name.startswith("_")
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    chooser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    chooser.add_argument("name", choices=names, help="which benchmark")
    chosen = chooser.parse_args(given[:1] or ["--help"])
    module = importlib.import_module(f"benchmarks.{chosen.name}")
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {chosen.name}", description=module.__doc__)
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args(given[1:]))
    return code


if __name__ == "__main__":
    sys.exit(main())
