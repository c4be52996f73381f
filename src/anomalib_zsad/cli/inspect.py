"""``anomalib-zsad inspect``: score every image below a folder, and show them sorted by score."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.calibration_arguments import add_calibration_arguments, load_calibration
from anomalib_zsad.cli.model_arguments import add_model_arguments, check_paths, model_arguments

if TYPE_CHECKING:
    from anomalib_zsad.inspection.options import InspectionOptions
    from anomalib_zsad.outputs.exit_codes import ExitCode
    from anomalib_zsad.records.image_records import ImageRecord

_EPILOG = """\
Written: images.csv (score, deviation, p-value, decision and peak of each image), report.html to look at (sorted by
score; one file, opens from disk without network), report.json (model, hashes, thresholds, versions).

  anomalib-zsad inspect -i line3/today -o inspected --checkpoint model.ckpt --class-name washer

exit codes: 0 everything done; 2 wrong usage; 3 no images found; 4 some images were unreadable; 5 all were; 6 the output
cannot be written; 130 interrupted (--resume goes on)
"""
_LISTED = 10


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line's subparsers."""
    parser = subparsers.add_parser(
        "inspect",
        help="score the images of a folder and show them sorted by score",
        description="Score every image below a folder. The input is only read.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-i", "--input", type=Path, required=True, help="a folder, searched to any depth, or an image")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new or empty folder, outside the input")
    add_model_arguments(parser)
    group = parser.add_argument_group("inspection")
    group.add_argument(
        "--threshold", type=float, help="of scores and map pixels, in [0, 1] (default: 0.5); not with calibration"
    )
    group.add_argument("--batch-size", type=int, default=8, help="images scored at a time")
    group.add_argument("--pictures", type=int, default=400, metavar="N", help="images with pictures in report.html")
    group.add_argument("--no-pages", action="store_true", help="no report.html")
    group.add_argument("--resume", action="store_true", help="go on with an interrupted run in the same output folder")
    group.add_argument("--no-progress", action="store_true", help="no progress bar (there is none without a terminal)")
    decisions = add_calibration_arguments(parser)
    decisions.add_argument(
        "--uncertainty",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="an image is uncertain if this many standard deviations of its score reach the threshold (default: 1)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Inspect, print a summary, and tell by the exit code how it went."""
    from anomalib_zsad.inspection.inspect_images import inspect_images
    from anomalib_zsad.outputs.disk_errors import DiskError
    from anomalib_zsad.outputs.exit_codes import ExitCode
    from anomalib_zsad.outputs.output_folder import OutputInUseError
    from anomalib_zsad.scoring.build import build_scorer
    from anomalib_zsad.scoring.image_scorer import ModelImageScorer

    try:
        options = _options(args)
        check_paths(args)
        scorer = build_scorer(args.model, args.checkpoint, model_arguments(args), args.device, args.class_name)
        records = _inspect(args, ModelImageScorer(scorer), options, inspect_images)
    except (ValueError, OSError, OutputInUseError) as error:
        sys.stderr.write(f"error: {error}\n")
        return ExitCode.USAGE
    except DiskError as error:
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        return ExitCode.DISK
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command with --resume goes on\n")
        return ExitCode.INTERRUPTED
    code = exit_code(records)
    _print_summary(args.output, records, options, code)
    if code is ExitCode.NOTHING_FOUND:
        sys.stderr.write("error: there are no images at the input path\n")
    return code


def exit_code(records: "list[ImageRecord]") -> "ExitCode":
    """The exit code of a run that came to its end."""
    from anomalib_zsad.outputs.exit_codes import ExitCode

    if not records:
        return ExitCode.NOTHING_FOUND
    unreadable = sum(record.decision == "unreadable" for record in records)
    if unreadable == len(records):
        return ExitCode.ALL_REFUSED
    return ExitCode.SOME_REFUSED if unreadable else ExitCode.DONE


def _options(args: argparse.Namespace) -> "InspectionOptions":
    from anomalib_zsad.calibration.decision_rule import DecisionRule
    from anomalib_zsad.inspection.options import InspectionOptions

    calibration, rate = load_calibration(args)
    if calibration is not None and args.threshold is not None:
        raise ValueError("--threshold and --calibration exclude each other: a calibration sets the thresholds")
    threshold = 0.5 if args.threshold is None else args.threshold
    rule = DecisionRule("images", calibration, rate, threshold, args.uncertainty)
    return InspectionOptions(rule, args.batch_size, not args.no_pages, args.pictures, args.resume)


def _inspect(args: argparse.Namespace, scorer: Any, options: "InspectionOptions", work: Any) -> "list[ImageRecord]":
    """Do it behind a progress bar, where there is a terminal to show one on."""
    from dataclasses import replace

    from anomalib_zsad.inspection.find_images import find_images
    from anomalib_zsad.outputs.progress import Progress

    with Progress(enabled=not args.no_progress) as progress:
        bar = progress.bar("images", len(find_images(args.input)))
        return work(args.input, args.output, scorer, replace(options, advance=bar.advance))


def _print_summary(output: Path, records: "list[ImageRecord]", options: "InspectionOptions", code: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    calibrated = options.rule.calibration is not None
    table = Table("image", "decision", "score", "±", *(["p"] if calibrated else []), title="Highest scores")
    readable = [record for record in records if record.score is not None]
    for record in readable[:_LISTED]:
        values = [record.score, record.score_std, *([record.p_value] if calibrated else [])]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        table.add_row(*(Text(cell) for cell in (record.image, record.decision, *cells)))
    if readable:
        console.print(table)
    for record in [record for record in records if record.score is None][:_LISTED]:
        console.print(f"unreadable: {record.image}: {record.reason}", markup=False, highlight=False)
    flagged = sum(bool(record.flagged) for record in records)
    look = f"; look at {output / 'report.html'}" if options.pages else ""
    console.print(
        f"{len(records)} images, {flagged} flagged, {len(records) - len(readable)} unreadable. "
        f"{options.rule.statement}\nwritten to {output} (exit code {int(code)}){look}",
        markup=False,
        highlight=False,
    )
