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
from anomalib_zsad.outputs.output_folder import OutputInUseError, read_run
from anomalib_zsad.records.run_summary import DONE, WARNED, RunEntry
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


def merge(sources: Sequence[Path], output: Path | None = None, *, resume: bool = False) -> Merged:
    """Merge the output folders of parts of a screening run.

    Results are linked where the file system can, and copied elsewhere; the parts stay as they are.

    Args:
        sources: Output folders of `screen`, of equal settings. One alone gets its own summary anew, without `output`.
        output: A new or empty folder, or with `resume` that of an earlier merge.
        resume: Go on with an earlier merge.

    Raises:
        ValueError: If several folders are given and no output, or two of them have different results for a series.
        OutputInUseError: If a folder is no output of `screen`, was made with other settings, or the output is in use.
        DiskError: If the output cannot be written.
    """
    if output is None and len(sources) != 1:
        raise ValueError(f"{len(sources)} folders to merge need an --output folder")
    settings = _common_settings(sources)
    target = sources[0] if output is None else output
    joined = SharedRunFolder(target, "screen", settings, source=None, resume=resume or output is None)
    with joined as folder, ExitStack() as opened, disk_errors():
        records = opened.enter_context(folder.records())
        if output is not None:
            parts = [_Source(path, opened.enter_context(records_of(path))) for path in sources]
            _check_conflicts(parts)
            for part in parts:
                _take(part, records, target)
            records.add(PLAN, -1, "", _common_plan(parts).as_dict())
            records.add(LEFT_OUT, -1, "", [entry for part in parts for entry in part.outcome(LEFT_OUT) or []])
        plan = _plan_of(records, target)
        RunOutputs(target, settings, records, folder.claims).write("complete", plan, records.place)
    summary = json.loads((target / "summary.json").read_text(encoding="utf-8"))
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
    runs = [read_run(path) for path in sources]
    for path, run in zip(sources, runs, strict=True):
        if run["command"] != "screen":
            raise OutputInUseError(f"{path} is an output of {run['command']}; only those of screen are merged")
        differing = [name for name in runs[0]["settings"] if run["settings"].get(name) != runs[0]["settings"][name]]
        if differing or run["settings"].keys() != runs[0]["settings"].keys():
            parts = ", ".join(differing) or "of another version"
            raise OutputInUseError(f"{path} and {sources[0]} were screened with different settings ({parts})")
    return runs[0]["settings"]


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
    plans = {plan.digest: plan for plan in (_plan_of(part.records, part.path) for part in parts)}
    first = next(iter(plans.values()))
    total = sum(plan.series for plan in plans.values())
    return Plan("+".join(sorted(plans)), total, first.statement, first.with_files, first.pages)


def _plan_of(records: Records, path: Path) -> Plan:
    known = records.get(PLAN)
    if known is None:
        raise OutputInUseError(f"{path} holds no records of what was screened; resume its run first")
    return Plan(**known.outcome)
