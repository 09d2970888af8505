"""The commands, and how one of them is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from throttle.cli.failures import FAILURE, INTERRUPTED, tell

__all__ = ["app", "run"]

app = typer.Typer(
    name="throttle",
    help="Hold every OpenAI call until the account has room for it: the full rate, and no 429.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what goes wrong is said in one line."""
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="throttle", standalone_mode=False)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read the output has gone; what Python would still flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except Exception as error:
        if type(error).__name__ == "Abort":
            return INTERRUPTED
        told = tell(error)
        if told is None:
            raise
        return told
    return code if isinstance(code, int) else 0


def _tell_version(wanted: bool) -> None:
    if wanted:
        from throttle import __version__

        print(f"throttle {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _register() -> None:
    from throttle.cli import demo, estimate, limits, plan, run, serve, status

    app.command()(demo.demo)
    app.command()(run.run)
    app.command()(plan.plan)
    app.command()(estimate.estimate)
    app.add_typer(limits.app)
    app.command()(serve.serve)
    app.command()(status.status)


_register()
