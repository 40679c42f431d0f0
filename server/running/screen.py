"""What the coordinator shows to whoever sits before its terminal."""

from typing import Any


class Screen:
    """A bar and a few lines for whoever sits before the terminal; nothing where nobody does."""

    def __init__(self, interactive: bool) -> None:
        self._bar: Any = None
        self._last = ""
        if interactive:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description:<24}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("waiting", total=None)

    def say(self, line: str) -> None:
        """A line, unless it was the last one too."""
        if self._bar is not None and line != self._last:
            self._last = line
            self._bar.console.print(line, highlight=False, markup=False)

    def show(self, told: dict[str, Any]) -> None:
        """Where the run is."""
        if self._bar is None or not told:
            return
        done = told["round"] - (told["phase"] in ("training", "retrying"))
        self._bar.update(
            self._task,
            description=f"run {told['run']}, {told['phase']}",
            completed=max(0, done),
            total=told.get("rounds"),
        )
        if told["message"]:
            self.say(told["message"])

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
