"""How far a run is: bars on a terminal's standard error, and silence everywhere else."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from typing_extensions import Self


class Bar:
    """One line: something of which so many are to be done."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        self._bars.advance(self._task, count)

    def expect(self, total: int) -> None:
        """There are so many in all."""
        self._bars.update(self._task, total=total)

    def restart(self, label: str, total: int) -> None:
        """Begin anew with something else."""
        self._bars.reset(self._task, total=total, description=label, visible=True)

    def remove(self) -> None:
        """Take the line away."""
        self._bars.remove_task(self._task)


class Progress:
    """Bars while a context lasts. Labels must not hold patient data.

    Args:
        enabled: Whether to show any; none are ever shown where standard error is no terminal.
        reports: Whether `line` writes where there are no bars, too.
    """

    def __init__(self, *, enabled: bool = True, reports: bool = False) -> None:
        self._console = Console(stderr=True)
        self._reports = reports
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def bar(self, label: str, total: int | None = None) -> Bar:
        """A new line; without a total it is hidden until it is restarted."""
        return Bar(self._bars, self._bars.add_task(label, total=total, visible=total is not None))

    def line(self, text: str) -> None:
        """Say what is done, above the bars."""
        if self._reports:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
