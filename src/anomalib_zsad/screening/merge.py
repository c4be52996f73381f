"""Make one run of its parts: results put together in one folder, and one summary over all."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.atomic import whole_folder
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.outputs.object_store import Place
from anomalib_zsad.outputs.output_folder import OutputInUseError, read_run
from anomalib_zsad.records.run_summary import DONE, WARNED, RunEntry
from anomalib_zsad.screening.result_place import ResultPlace, ResultsInFolder, result_place
from anomalib_zsad.screening.run_outputs import LEFT_OUT, PLAN, Plan, RunOutputs
from anomalib_zsad.units.records import Records, UnitRecord
from anomalib_zsad.units.shared_folder import SharedRunFolder, records_of


@dataclass(frozen=True)
class Merged:
    """What a merge made.

    Attributes:
        entries: What became of everything, in the order of the input.
        state: `complete`, or how many series have no result yet.
        statement: What every output says of the scores.
    """

    entries: list[RunEntry]
    state: str
    statement: str


def merge(sources: Sequence[Place], output: Path | None = None, *, resume: bool = False) -> Merged:
    """Merge the output folders of parts of a screening run.

    Results are linked where the file system can, and copied elsewhere; the parts stay as they are.

    Args:
        sources: Output folders of `screen`, of equal settings. One alone, or one place in an object store, gets its
            own summary anew, without `output`.
        output: A new or empty folder, or with `resume` that of an earlier merge.
        resume: Go on with an earlier merge.

    Raises:
        ValueError: If several folders are given and no output, two of them have different results for a series, or one
            to be put together with others lies in an object store.
        OutputInUseError: If a folder is no output of `screen`, was made with other settings, or the output is in use.
        DiskError: If the output cannot be written.
    """
    if output is None and len(sources) != 1:
        raise ValueError(f"{len(sources)} folders to merge need an --output folder")
    if output is None:
        return _summarised(sources[0])
    folders = [source for source in sources if isinstance(source, Path)]
    if len(folders) < len(sources):
        raise ValueError("parts in an object store share one place, of which merge makes the summary anew")
    settings = _common_settings(folders)
    place = ResultsInFolder(output)
    joined = SharedRunFolder(output, "screen", settings, source=None, resume=resume)
    with joined as folder, ExitStack() as opened, disk_errors():
        records = opened.enter_context(folder.records())
        parts = [_Source(path, opened.enter_context(records_of(path))) for path in folders]
        _check_conflicts(parts)
        for part in parts:
            _take(part, records, output)
        records.add(PLAN, -1, "", _common_plan(parts).as_dict())
        records.add(LEFT_OUT, -1, "", [entry for part in parts for entry in part.outcome(LEFT_OUT) or []])
        return _written(place, settings, records, folder)


def _summarised(source: Place) -> Merged:
    """The summary of one run, made anew."""
    place = result_place(source)
    try:
        place.begin()
        settings = _settings_of(place.folder, place.shown)
        joined = SharedRunFolder(place.folder, "screen", settings, source=None, resume=True, shown=place.shown)
        with joined as folder, disk_errors(), folder.records() as records:
            return _written(place, settings, records, folder)
    finally:
        place.close()


def _written(place: ResultPlace, settings: dict[str, Any], records: Records, folder: SharedRunFolder) -> Merged:
    """Write the summary, and read it."""
    plan = _plan_of(records, place.shown)
    RunOutputs(place, settings, records, folder.claims).write("complete", plan, records.place)
    summary = json.loads((place.folder / "summary.json").read_text(encoding="utf-8"))
    entries = [RunEntry.from_dict(entry) for entry in summary["series"]]
    return Merged(entries, summary["state"], plan.statement)


@dataclass(frozen=True)
class _Source:
    """A folder to be merged."""

    path: Path
    records: Records

    def outcome(self, unit: str) -> Any:
        known = self.records.get(unit)
        return None if known is None else known.outcome

    def units(self) -> Iterator[UnitRecord]:
        """What became of the series of its input."""
        for unit in self.records:
            known = self.records.get(unit)
            if known is not None and known.place >= 0:
                yield known


def _common_settings(sources: Sequence[Path]) -> dict[str, Any]:
    """The settings of all.

    Raises:
        OutputInUseError: If they differ, or a folder is no output of `screen`.
    """
    first, *others = [_settings_of(path, str(path)) for path in sources]
    for path, settings in zip(sources[1:], others, strict=True):
        differing = [name for name in first if settings.get(name) != first[name]]
        if differing or settings.keys() != first.keys():
            parts = ", ".join(differing) or "of another version"
            raise OutputInUseError(f"{path} and {sources[0]} were screened with different settings ({parts})")
    return first


def _settings_of(folder: Path, shown: str) -> dict[str, Any]:
    """Settings of the run of `screen` in a folder.

    Raises:
        OutputInUseError: If there is none.
    """
    run = read_run(folder, shown)
    if run["command"] != "screen":
        raise OutputInUseError(f"{shown} is an output of {run['command']}; only those of screen are merged")
    return run["settings"]


def _check_conflicts(parts: Sequence[_Source]) -> None:
    """Refuse two results of one series that are not the same, before anything is written."""
    seen: dict[str, tuple[Path, str]] = {}
    for part in parts:
        for known in part.units():
            entries = [entry for entry in known.outcome if entry["status"] in (DONE, WARNED)]
            told = json.dumps(entries, sort_keys=True)
            if not entries:
                continue
            path, earlier = seen.setdefault(known.unit, (part.path, told))
            if told != earlier:
                raise ValueError(f"{known.unit} has different results in {path} and {part.path}; merge one of them")


def _take(part: _Source, records: Records, target: Path) -> None:
    """Take results over that are not there."""
    for known in part.units():
        earlier = records.get(known.unit)
        done = [entry["series"] for entry in known.outcome if entry["status"] in (DONE, WARNED)]
        if earlier is not None and (earlier.outcome == known.outcome or not done):
            continue
        for name in done:
            if not (target / name).exists():
                with whole_folder(target / name) as folder:
                    shutil.copytree(part.path / name, folder, copy_function=_link, dirs_exist_ok=True)
        records.add(known.unit, known.place, known.state, known.outcome)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _common_plan(parts: Sequence[_Source]) -> Plan:
    """What the inputs of all held: an input that several parts share counts once."""
    plans = {plan.digest: plan for plan in (_plan_of(part.records, str(part.path)) for part in parts)}
    first = next(iter(plans.values()))
    total = sum(plan.series for plan in plans.values())
    return Plan("+".join(sorted(plans)), total, first.statement, first.with_files, first.pages)


def _plan_of(records: Records, shown: str) -> Plan:
    known = records.get(PLAN)
    if known is None:
        raise OutputInUseError(f"{shown} holds no records of what was screened; resume its run first")
    return Plan(**known.outcome)
