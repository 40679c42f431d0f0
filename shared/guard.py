"""How a command ends: our errors become one line and an exit code."""

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from shared.errors import FedInterestError

INTERRUPTED = 130


def guarded(work: Callable[[], None]) -> None:
    """Turn our errors into one line and an exit code; others are bugs and show their trace."""
    try:
        work()
    except FedInterestError as error:
        fail(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(0) from None


def fail(error: FedInterestError) -> NoReturn:
    """Print the error and exit with its code."""
    print(f"error: {error}", file=sys.stderr)
    raise typer.Exit(error.exit_code)
