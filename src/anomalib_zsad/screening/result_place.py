"""Where the results of a run lie: in a folder, or in an object store, of which a light copy is at work here."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Protocol

from anomalib_zsad.outputs.atomic import whole_folder
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.outputs.object_store import Place, StorePlace
from anomalib_zsad.outputs.output_folder import RECORD, OutputInUseError
from anomalib_zsad.outputs.scratch_folder import ScratchFolder
from anomalib_zsad.pages.run_index import COMPARE, NAME
from anomalib_zsad.pages.series_page import NAME as SERIES_PAGE
from anomalib_zsad.units.shared_folder import PARTS, UNITS

REPORT = "report.json"
"""What a whole result has: it is there last."""

SUMMARIES = ("summary.json", "summary.csv", NAME, COMPARE)


class ResultPlace(Protocol):
    """The results of a run.

    Attributes:
        folder: A folder of this machine, with the records and the summary of the run.
        shared: Whether other processes see the records that this one makes.
        shown: What it is called in messages.
    """

    folder: Path
    shared: bool
    shown: str

    def begin(self) -> None:
        """Bring what an earlier run left to `folder`.

        Raises:
            OutputInUseError: If there is something else.
            OSError: If it cannot be read.
        """
        ...

    def holds(self, series: str) -> bool:
        """Whether there is a result of this name, as far as is known without asking again."""
        ...

    def report(self, series: str) -> bytes | None:
        """The report of a result; `None` where there is no result.

        Raises:
            OSError: If there is a result without one.
        """
        ...

    def whole(self, series: str, *, again: bool = False) -> AbstractContextManager[Path]:
        """A folder to fill, which becomes a result, whole, when the block ends without an exception.

        Args:
            series: Its name.
            again: Whether one of this name is there, which is replaced.
        """
        ...

    def take_up(self) -> None:
        """Bring what other processes have recorded to `folder`."""
        ...

    def bring(self, series: Iterable[str]) -> None:
        """Bring what the index shows of results to `folder`."""
        ...

    def forget(self, series: str) -> None:
        """Drop what was brought of a result that has been made anew."""
        ...

    def publish(self) -> None:
        """Bring records and summary from `folder` to where the results lie."""
        ...

    def close(self) -> None:
        """Give up what is only of this process."""
        ...


def result_place(output: Place) -> ResultPlace:
    """The results at a path or in an object store; to be closed."""
    return ResultsInStore(output) if isinstance(output, StorePlace) else ResultsInFolder(output)


class ResultsInFolder:
    """Results in folders of a file system, below that of the run.

    Args:
        folder: The run's.
    """

    shared = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.shown = folder, str(folder)

    def begin(self) -> None:
        """Nothing: what an earlier run left is in the folder."""

    def holds(self, series: str) -> bool:
        """Whether there is a whole result of this name."""
        return (self.folder / series / REPORT).is_file()

    def report(self, series: str) -> bytes | None:
        """The report of a result; `None` where there is nothing of this name.

        Raises:
            OSError: If there is something without a report.
        """
        folder = self.folder / series
        return (folder / REPORT).read_bytes() if folder.exists() else None

    @contextmanager
    def whole(self, series: str, *, again: bool = False) -> Iterator[Path]:
        """A folder to fill, beside its place; then it is renamed."""
        if again:
            with disk_errors():
                rmtree(self.folder / series)
        with whole_folder(self.folder / series) as folder:
            yield folder

    def take_up(self) -> None:
        """Nothing: records of others are in the folder."""

    def bring(self, series: Iterable[str]) -> None:
        """Nothing: results are in the folder."""

    def forget(self, series: str) -> None:
        """Nothing: nothing was brought."""

    def publish(self) -> None:
        """Nothing: the folder is the place."""

    def close(self) -> None:
        """Nothing."""


class ResultsInStore:
    """Results in an object store. A store knows no locks: processes with equal parts repeat each other's work.

    Args:
        place: Of the run.
    """

    shared = False
    _TOGETHER = 16

    def __init__(self, place: StorePlace) -> None:
        self._place, self.shown = place, str(place)
        self._scratch = ScratchFolder()
        self.folder = self._scratch.path / "run"
        self.folder.mkdir()
        self._results = self._scratch.path / "results"
        self._known: set[str] = set()
        self._others: set[str] = set()

    def begin(self) -> None:
        """Bring what an earlier run left to `folder`.

        Raises:
            OutputInUseError: If there is something else.
            StoreError: If the store does not answer.
        """
        self._known = set(self._place.names())
        if not self._known:
            return
        if RECORD not in self._known:
            raise OutputInUseError(f"{self.shown} is not empty and holds no earlier run; choose a new place")
        for name in (RECORD, PARTS):
            if name in self._known:
                (self._place / name).fetch(self.folder / name)
        self.take_up()

    def holds(self, series: str) -> bool:
        """Whether there was a result of this name when the run began, or this process has made it since."""
        return series in self._known

    def report(self, series: str) -> bytes | None:
        """The report of a result; `None` where there is none, or half of one, which a killed process left.

        Raises:
            StoreError: If the store does not answer.
        """
        try:
            return (self._place / series / REPORT).read_bytes()
        except FileNotFoundError:
            return None

    @contextmanager
    def whole(self, series: str, *, again: bool = False) -> Iterator[Path]:
        """A folder of this machine to fill; then its files become objects, the report last."""
        with whole_folder(self._results / series) as folder:
            yield folder
        result = self._results / series
        try:
            with disk_errors():
                target = self._place / series
                if again or target.names():  # of a process that was killed meanwhile
                    target.remove()
                files = [path for path in sorted(result.rglob("*")) if path.is_file() and path.name != REPORT]
                with ThreadPoolExecutor(self._TOGETHER) as pool:
                    list(pool.map(lambda path: self._put(path, path.relative_to(result).as_posix(), series), files))
                self._put(result / REPORT, REPORT, series)
        finally:
            rmtree(result)
        self._known.add(series)

    def _put(self, path: Path, name: str, series: str) -> None:
        (self._place / series / name).put(path)

    def take_up(self) -> None:
        """Bring what other processes have recorded since to `folder`."""
        parts = self._place / UNITS / "records"
        for part in parts.names():
            for name in (parts / part).names():
                target = self.folder / UNITS / "records" / part / name
                if not target.exists() or f"{part}/{name}" in self._others:
                    self._others.add(f"{part}/{name}")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (parts / part / name).fetch(target)

    def bring(self, series: Iterable[str]) -> None:
        """Bring reports and first pictures to `folder`, and an empty file for each page."""
        wanted = [name for name in series if not (self.folder / name).exists()]
        with ThreadPoolExecutor(self._TOGETHER) as pool:
            list(pool.map(self._bring_one, wanted))

    def _bring_one(self, series: str) -> None:
        place = self._place / series
        names = place.names()
        if REPORT not in names:
            return
        pictures = (place / "previews").names() if "previews" in names else []
        with whole_folder(self.folder / series) as folder:
            (place / REPORT).fetch(folder / REPORT)
            if SERIES_PAGE in names:
                (folder / SERIES_PAGE).touch()
            if pictures:
                (folder / "previews").mkdir()
                (place / "previews" / pictures[0]).fetch(folder / "previews" / pictures[0])

    def forget(self, series: str) -> None:
        """Drop the copy of a result that has been made anew."""
        rmtree(self.folder / series, ignore_errors=True)

    def publish(self) -> None:
        """Bring records and summary from `folder` to the store."""
        for name in (RECORD, PARTS, *SUMMARIES):
            if (self.folder / name).is_file():
                (self._place / name).put(self.folder / name)
        records = self.folder / UNITS / "records"
        for path in sorted(records.rglob("*.jsonl")):
            name = path.relative_to(records).as_posix()
            if name not in self._others:
                (self._place / UNITS / "records" / name).put(path)

    def close(self) -> None:
        """Remove the copy."""
        self._scratch.close()
