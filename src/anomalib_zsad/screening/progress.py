"""Progress bars on a terminal, and silence everywhere else."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from typing_extensions import Self

from anomalib_zsad.screening.screen_volume import Advance


class Progress(Advance):
    """Two bars: series of the run, and slices of the volume at hand. Labels are pseudonyms.

    Args:
        series: Number of series.
        enabled: Whether to show anything; nothing is ever shown where standard error is no terminal.
    """

    def __init__(self, series: int, *, enabled: bool) -> None:
        console = Console(stderr=True)
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not (enabled and console.is_terminal),
            transient=True,
        )
        self._series = self._bars.add_task("series", total=series)
        self._slices = self._bars.add_task("slices", total=None, visible=False)

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take them away."""
        self._bars.stop()

    def start_slices(self, name: str, slices: int) -> None:
        """A volume begins."""
        self._bars.reset(self._slices, total=slices, description=name, visible=True)

    def __call__(self, slices: int) -> None:
        """`slices` more are done."""
        self._bars.advance(self._slices, slices)

    def series_done(self) -> None:
        """One more series is done."""
        self._bars.advance(self._series)
