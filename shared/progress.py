"""Progress on a terminal, plain lines when piped, and nothing at all with --json.

Everything goes to standard error; results go to standard output.
"""

import sys
import time
from types import TracebackType
from typing import Any, Self

_EVERY_S = 15.0


class Progress:
    """One bar per piece of work; call it with (what, done, total).

    Args:
        quiet: say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = not quiet and sys.stderr.isatty()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._last: tuple[str, float] = ("", 0.0)

    def __enter__(self) -> Self:
        if self.live:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bars

            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description:<24}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=False,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done of `what`; total 0 means it cannot be told."""
        if self.quiet:
            return
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total or None)
            task = self._tasks[what]
            self._bars.update(task, completed=done, total=total or None)
            if total and done >= total:
                self._bars.update(task, completed=total)
            return
        now = time.monotonic()
        before, when = self._last
        if what != before or (total and done >= total) or now - when > _EVERY_S:
            if what == before and total and done >= total and now - when < 1.0:
                return  # short work: its first line was enough
            self._last = (what, now)
            self.say(f"{what} {done}/{total}" if total else what)

    def say(self, line: str) -> None:
        """A line of its own, for things that have no length."""
        if self.quiet:
            return
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)
