"""`anomalib-zsad inspect`: score every image below a folder, and show them sorted by score."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_zsad.calibration.decision_rule import decision_in_words
from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import add_decision_options, decision_rule
from anomalib_zsad.cli.drift_options import add_drift_options, drift_options
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.image_options import add_image_options, image_reading
from anomalib_zsad.cli.model_options import (
    add_engine_options,
    add_model_options,
    add_tile_options,
    check_trained,
    engine_options,
    load_scorer,
    say_loading,
    tile_options,
)
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import console, counted, plain_table, visible
from anomalib_zsad.records.image_records import ImageRecord

if TYPE_CHECKING:
    from rich.table import Table

    from anomalib_zsad.inspection.inspect_images import Inspection
    from anomalib_zsad.records.drift_report import DriftReport

_EPILOG = """\
Written: images.csv (score, deviation, p-value, decision and peak of each
image), report.html to look at (sorted by score; one file, opens from disk
without network), report.json (model, hashes, thresholds, drift, versions).

  anomalib-zsad inspect -i line3/today -o inspected \\
      --checkpoint model.ckpt --class-name washer
"""
_PARTS = {
    "num_parts": "into how many parts the images are divided, by their names; start the command once for each part",
    "part_id": "which of them to inspect, from 0, in an output folder of its own; `merge` makes the whole of all parts",
}
_LISTED = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Score every image below a folder. The input is only read.", _EPILOG)
    run_options.add_input(parser, "a folder, searched to any depth, or an image")
    run_options.add_output_folder(parser)
    add_model_options(parser)
    add_engine_options(parser)
    add_tile_options(parser)
    helps = {
        "batch_size": "images, or tiles, scored at a time",
        "pictures": "images with large pictures in report.html; all have thumbnails",
        "pages": "no report.html",
    }
    add_options(parser.add_argument_group("inspection"), InspectionOptions, helps)
    add_image_options(parser)
    add_decision_options(parser, "images")
    order = "the order in which images were taken: that of their names, or of their files' times"
    add_options(add_drift_options(parser), InspectionOptions, {"drift_order": order})
    add_options(parser.add_argument_group("parts of a run"), InspectionOptions, _PARTS)
    run_options.add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect, print a summary, and tell by the exit code how it went."""
    run_options.check_input(args.input)
    check_trained(args)
    _ = engine_options(args), tile_options(args)  # what makes no sense is told at once
    rule, drift = decision_rule(args, "images"), drift_options(args)
    options = fill(InspectionOptions, args, rule=rule, reading=image_reading(args), drift=drift)
    say_loading(args)
    from anomalib_zsad.inspection.find_images import in_words
    from anomalib_zsad.inspection.inspect_images import inspect_images
    from anomalib_zsad.scoring.image_scorer import ModelImageScorer

    inspection = inspect_images(args.input, args.output, ModelImageScorer(load_scorer(args)), options)
    code = exit_code(inspection.records)
    if code is ExitCode.NOTHING_FOUND and inspection.written:
        code = ExitCode.DONE  # a part that none of the images is of
    if code is ExitCode.NOTHING_FOUND:
        skipped = f"; skipped: {in_words(inspection.found.skipped)}" if inspection.found.skipped else ""
        say(f"error: there are no images at the input path{skipped}")
    else:
        print_summary(args.output, inspection, options, code)
    return code


def exit_code(records: Sequence[ImageRecord]) -> ExitCode:
    """The exit code of a run that came to its end."""
    unreadable = sum(record.decision == "unreadable" for record in records)
    if not records:
        return ExitCode.NOTHING_FOUND
    if unreadable == len(records):
        return ExitCode.ALL_REFUSED
    return ExitCode.SOME_REFUSED if unreadable else ExitCode.DONE


def print_summary(output: Path, inspection: "Inspection", options: InspectionOptions, code: ExitCode) -> None:
    """Print the highest scores, what could not be read, and where to look."""
    from anomalib_zsad.inspection.find_images import in_words

    out, records = console(), inspection.records
    calibrated = options.rule.calibration is not None
    readable = [record for record in records if record.score is not None]
    if readable:
        out.print(_highest(readable[:_LISTED], calibrated=calibrated))
    for record in [record for record in records if record.score is None][:_LISTED]:
        out.print(visible(f"unreadable: {record.image}: {record.reason}"), markup=False, highlight=False)
    flagged = sum(bool(record.flagged) for record in records)
    turned = sum(bool(record.turned) for record in records)
    look = f"; look at {output / 'report.html'}" if options.pages else ""
    images = counted(len(records), "image") + (f", {flagged} flagged" if calibrated else "")
    lines = [
        f"{images}, {len(records) - len(readable)} unreadable. {options.rule.statement}",
        *([f"skipped: {in_words(inspection.found.skipped)}"] if inspection.found.skipped else []),
        *([f"turned upright, as their EXIF orientation says: {turned}"] if turned else []),
        *(drift_lines(inspection.drift) if calibrated else []),
        *(["nothing left to do: an earlier run had scored all of them"] if inspection.found_done else []),
        f"written to {output} (exit code {code.value}: {code.meaning}){look}",
    ]
    out.print(visible("\n".join(lines)), markup=False, highlight=False, soft_wrap=True)


def drift_lines(drift: "DriftReport") -> list[str]:
    """Whether images drifted, and where they did, what changed."""
    return [drift.statement, *(f"  {told}" for told in drift.what_changed if drift.alarm is not None)]


def _highest(records: Sequence[ImageRecord], *, calibrated: bool) -> "Table":
    """The images with the highest scores; names come last, where there is room for long ones."""
    from rich.text import Text

    numbers = ("score", "±", *(("p",) if calibrated else ()))
    decided = ("decision",) if calibrated else ()
    table = plain_table("rank", *numbers, *decided, "image", numbers=("rank", *numbers), title="Highest scores")
    for rank, record in enumerate(records, 1):
        values = [record.score, record.score_std, *([record.p_value] if calibrated else [])]
        cells = [str(rank), *("" if value is None else f"{value:.3f}" for value in values)]
        cells += [decision_in_words(record.decision or "undecided")] if calibrated else []
        table.add_row(*(Text(visible(cell)) for cell in (*cells, record.image)))
    return table
