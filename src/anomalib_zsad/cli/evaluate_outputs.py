"""What `anomalib-zsad evaluate` writes and prints once everything is evaluated."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.model_options import say_demonstration
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.outputs.terminal import console
from anomalib_zsad.outputs.versions import versions

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from anomalib_zsad.evaluation.evaluate import Evaluation, Subject
    from anomalib_zsad.evaluation.result_tables import Row
    from anomalib_zsad.evaluation.strata.strata_table import StrataTable
    from anomalib_zsad.evaluation.strata.stratum import Stratum
    from anomalib_zsad.evaluation.targets import Target
    from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet


def report(
    args: argparse.Namespace,
    settings: Settings,
    evaluation: "Evaluation",
    targets: "Sequence[Target]",
    table: "StrataTable | None" = None,
) -> None:
    """Write the reports, then print the tables.

    Args:
        args: Of the command line.
        settings: How it was evaluated.
        evaluation: What came of it.
        targets: The sets.
        table: Which stratum each patient, volume or image belongs to; `None` for none.

    Raises:
        OSError: If a report cannot be written.
        ValueError: If the table says nothing of what was evaluated.
    """
    from anomalib_zsad.evaluation.claim.draft import write_claim
    from anomalib_zsad.evaluation.result_tables import make_rows, rich_tables, write_reports
    from anomalib_zsad.evaluation.strata.make_strata import make_strata
    from anomalib_zsad.evaluation.strata.strata_report import terminal_strata, write_strata

    strata = [] if table is None else make_strata(evaluation, table, settings)
    results, subjects, volume_sets = evaluation.results, evaluation.subjects, evaluation.volume_sets
    method, auxiliary = subjects[0].method, subjects[0].auxiliary
    rows = make_rows(results, method, auxiliary.name if auxiliary else None)
    title = f"{method}, {', '.join(subject.checkpoint or 'untrained' for subject in subjects)}"
    provenance = _provenance(args, settings, subjects, targets)
    files = write_reports(args.output, results, rows, title, provenance)
    if volume_sets:
        from anomalib_zsad.evaluation.volumes.readers_report import write_readers

        files += write_readers(args.output, volume_sets, provenance, source_names=args.source_names)
    if strata:
        files += write_strata(args.output, strata, {**provenance, **_of_table(args, table)})
    if args.claim:
        files.append(write_claim(args.output, evaluation, settings, provenance, strata))
    files = [_write_page(args, title, evaluation, rows, provenance, files, strata), *files]
    out = console()
    out.print(f"{title}; in percent, - is not defined", markup=False, highlight=False)
    say_demonstration(provenance.get("backbone", ""))
    for categories in rich_tables(rows, out.width):
        out.print(categories)
    for row in rows:
        for note in row.notes:
            told = f"{row.target} / {row.category} ({row.protocol}): {note}"
            out.print(told, markup=False, highlight=False, soft_wrap=True)
    _print_readers(out, volume_sets)
    for group in terminal_strata(strata):
        out.print(group)
    if table is not None and table.unused:
        out.print(f"{table.unused} of the {len(table.rows)} rows of {args.strata} are of nothing that was evaluated")
    if evaluation.found_done:
        out.print("nothing left to do: an earlier run had evaluated all of it")
    names = [file.name for file in files if file.parent == args.output]
    curves = " and curves/" if len(names) < len(files) else ""
    out.print(f"written to {args.output}: {', '.join(names)}{curves}", markup=False, highlight=False, soft_wrap=True)


def _write_page(
    args: argparse.Namespace,
    title: str,
    evaluation: "Evaluation",
    rows: "Sequence[Row]",
    provenance: dict[str, Any],
    files: "Sequence[Path]",
    strata: "Sequence[Stratum]",
) -> "Path":
    """Write the page to look at."""
    from anomalib_zsad.evaluation.evaluation_page import write_page

    backbone = provenance.get("backbone", "")
    sets = evaluation.volume_sets
    return write_page(args.output, title, backbone, rows, sets, provenance, files, args.screened, strata)


def _of_table(args: argparse.Namespace, table: "StrataTable | None") -> dict[str, Any]:
    """What the strata come from; a file's name may hold patient data, its content is known by its hash."""
    from anomalib_zsad.outputs.file_hash import file_sha256

    if table is None:
        return {}
    return {"strata": file_sha256(args.strata), "strata columns": list(table.columns), "strata of": table.key}


def _print_readers(out: "Console", volume_sets: "Sequence[VolumeSet]") -> None:
    """The figures for readers, a table for each set and run."""
    if not volume_sets:
        return
    from anomalib_zsad.evaluation.volumes.terminal import reader_tables

    for volumes in volume_sets:
        for part in reader_tables(volumes):
            out.print(part)


def _provenance(
    args: argparse.Namespace, settings: Settings, subjects: "Sequence[Subject]", targets: "Sequence[Target]"
) -> dict[str, Any]:
    """What made the figures."""
    from anomalib_zsad.evaluation.protocols import make_protocol
    from anomalib_zsad.outputs.file_hash import file_sha256
    from anomalib_zsad.scoring.demonstration import demonstration_notice

    auxiliary = subjects[0].auxiliary
    described = [
        {
            "target": target.name,
            "source": target.source,
            **make_protocol(name, subjects[0].method, target.name).describe(),
        }
        for target in targets
        for name in dict.fromkeys(settings.protocols)
    ]
    notice = demonstration_notice({"backbone": subjects[0].backbone})
    return {
        **({"notice": notice} if notice else {}),
        "model": subjects[0].method,
        "backbone": subjects[0].backbone,
        "arguments": args.model_arguments,
        "checkpoints": {path.name: file_sha256(path) for path in args.checkpoint},
        "engine": args.engine,
        "precision": args.precision,
        "tiles": args.tiles,
        "calibration": None if args.calibration is None else file_sha256(args.calibration),
        "false-alarm rate": None if args.calibration is None else settings.false_alarm_rate,
        "auxiliary set": (auxiliary.name if auxiliary else None) or "unknown",
        "auxiliary categories": list(auxiliary.categories or ()) if auxiliary else [],
        "seeds": " ".join(map(str, dict.fromkeys(settings.seeds))),
        "protocols": described,
        **{f"version of {name}": versions()[name] for name in ("anomalib-zsad", "anomalib", "torch")},
    }
