"""How far an evaluation is, for those who wait."""

from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from typing_extensions import Self

from anomalib_zsad.evaluation.results import CategoryResult


class Progress(Protocol):
    """Who is told how far an evaluation is."""

    def begin(self, label: str, images: int) -> None:
        """A category begins."""

    def advance(self, images: int) -> None:
        """Some images are done."""

    def end(self, result: CategoryResult, resumed: bool) -> None:
        """A category is done, or was found done."""


class SilentProgress:
    """Tells nobody."""

    def begin(self, label: str, images: int) -> None:
        """Do nothing."""

    def advance(self, images: int) -> None:
        """Do nothing."""

    def end(self, result: CategoryResult, resumed: bool) -> None:
        """Do nothing."""


class RichProgress:
    """Progress on standard error: a bar for the category in work, a line for each that is done."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True)
        self._task: Any = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, label: str, images: int) -> None:
        """Show a bar for a category."""
        self._task = self._bars.add_task(label, total=images)

    def advance(self, images: int) -> None:
        """Move the bar."""
        self._bars.advance(self._task, images)

    def end(self, result: CategoryResult, resumed: bool) -> None:
        """Replace the bar by a line."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        state = "found done" if resumed else f"{result.images} images in {result.seconds:.0f} s"
        run = result.run
        self._bars.console.print(
            f"{result.target} / {result.category} ({run.protocol}, seed {run.seed}): {state}",
            markup=False,
            highlight=False,
        )
