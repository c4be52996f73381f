"""``anomalib-zsad screen``: score DICOM series and NIfTI volumes, slice by slice, with maps on the input's grid."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.calibration_arguments import add_calibration_arguments, load_calibration
from anomalib_zsad.cli.model_arguments import add_model_arguments, add_slicing_arguments, check_paths, model_arguments
from anomalib_zsad.cli.reading_arguments import EXIT_CODES, add_reading_arguments, reading_options

if TYPE_CHECKING:
    from anomalib_zsad.calibration.decision_rule import DecisionRule
    from anomalib_zsad.records.run_summary import RunEntry
    from anomalib_zsad.screening.options import ScreeningOptions

_EPILOG = f"""\
For each series a folder under its pseudonym: anomaly_map.nii.gz and lesions.nii.gz on the input's grid, lesions_seg.dcm
(DICOM SEG, where the source is DICOM), slices.csv, regions.csv, previews, report.json, and report.html to look at. For
the run: index.html, which links them, summary.json and summary.csv.

For research use only. Scores are uncalibrated unless a calibration is given: then p_value and flagged mean what the
calibration promises at the false-alarm rate. `uncertain` are slices whose score the sampled prompts do not agree on.

{EXIT_CODES}"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line's subparsers."""
    parser = subparsers.add_parser(
        "screen",
        help="score the slices of DICOM series and NIfTI volumes and segment what is abnormal",
        description="Screen every series below a path. The input is only read.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-i", "--input", type=Path, required=True, help="a file, a folder or a zip archive")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new or empty folder, outside the input")
    add_model_arguments(parser)
    _add_screening_arguments(parser)
    _add_decision_arguments(parser)
    _add_run_arguments(parser)
    add_reading_arguments(parser)
    return parser


def _add_screening_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("screening")
    group.add_argument(
        "-ot",
        "--output-type",
        nargs="+",
        choices=["nifti", "dicom_seg"],
        default=["nifti", "dicom_seg"],
        help="kinds of maps to write (default: both)",
    )
    group.add_argument(
        "--threshold", type=float, help="of slice scores and map pixels, in [0, 1] (default: 0.5); not with calibration"
    )
    group.add_argument("--previews", type=int, default=5, help="number of pictures of top slices")
    add_slicing_arguments(group)
    group.add_argument("--std-map", action="store_true", help="write the map of standard deviations as well")
    group.add_argument("--no-pages", action="store_true", help="no report.html for series, no index.html for the run")


def _add_decision_arguments(parser: argparse.ArgumentParser) -> None:
    group = add_calibration_arguments(parser)
    group.add_argument(
        "--benjamini-hochberg",
        action="store_true",
        help="flag the slices of a volume together, at the rate as a false discovery rate; needs --calibration",
    )
    group.add_argument(
        "--uncertainty",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="a slice is uncertain if this many standard deviations of its score reach the threshold (default: 1)",
    )


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--series", nargs="+", default=[], metavar="NAME", help="only these, by pseudonym")
    group.add_argument("--list-series", action="store_true", help="list the series and stop, like info")
    group.add_argument("--resume", action="store_true", help="go on with an earlier run in the same output folder")
    group.add_argument(
        "--no-progress", action="store_true", help="no progress bars (there are none without a terminal)"
    )


def run(args: argparse.Namespace) -> int:
    """Screen, print a summary, and tell by the exit code how it went."""
    from anomalib_zsad.outputs.disk_errors import DiskError
    from anomalib_zsad.outputs.exit_codes import ExitCode
    from anomalib_zsad.outputs.output_folder import OutputInUseError
    from anomalib_zsad.scoring.build import build_scorer
    from anomalib_zsad.screening.screen import screen

    if args.list_series:
        from anomalib_zsad.cli import info

        return info.run(argparse.Namespace(**vars(args), check=False, json=False))
    try:
        options = _options(args)
        check_paths(args)
        scorer = build_scorer(args.model, args.checkpoint, model_arguments(args), args.device, args.class_name)
        code, entries = screen(args.input, args.output, scorer, options)
    except (ValueError, OSError, OutputInUseError) as error:
        sys.stderr.write(f"error: {error}\n")
        return ExitCode.USAGE
    except DiskError as error:
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        return ExitCode.DISK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    _print_summary(args.output, entries, code, options.rule)
    if code is ExitCode.NOTHING_FOUND:
        sys.stderr.write("error: there is nothing to screen at the input path\n")
    return code


def _options(args: argparse.Namespace) -> "ScreeningOptions":
    from anomalib_zsad.calibration.decision_rule import DecisionRule
    from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions

    calibration, rate = load_calibration(args)
    if calibration is not None and args.threshold is not None:
        raise ValueError("--threshold and --calibration exclude each other: a calibration sets the thresholds")
    threshold = 0.5 if args.threshold is None else args.threshold
    volume = VolumeOptions(
        output_types=tuple(dict.fromkeys(args.output_type)),
        plane=args.plane,
        channels=args.channels,
        crop=args.crop,
        window=args.window,
        top_k=args.top_k,
        previews=args.previews,
        batch_size=args.batch_size,
        score_blank=args.score_blank,
        std_map=args.std_map,
        pages=not args.no_pages,
    )
    return ScreeningOptions(
        reading=reading_options(args),
        volume=volume,
        rule=DecisionRule("volumes", calibration, rate, threshold, args.uncertainty, args.benjamini_hochberg),
        series=tuple(args.series),
        resume=args.resume,
        source_names=args.source_names,
        progress=not args.no_progress,
    )


def _print_summary(output: Path, entries: "list[RunEntry]", code: int, rule: "DecisionRule") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    calibrated = ["p", "decision"] if rule.calibration is not None else []
    table = Table("series", "status", "slices", "flagged", "uncertain", "score", *calibrated, "reason")
    for entry in entries:
        numbers = [entry.slices, entry.flagged_slices, entry.uncertain_slices]
        cells = ["" if number is None else str(number) for number in numbers]
        scores = [entry.volume_score, entry.volume_p_value][: 2 if calibrated else 1]
        cells += ["" if score is None else f"{score:.3f}" for score in scores]
        cells += [entry.volume_decision or ""] if calibrated else []
        row = [entry.series or "-", entry.status, *cells, entry.reason]
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    look = f"; look at {output / 'index.html'}" if (output / "index.html").is_file() else ""
    console.print(f"{rule.statement}\nwritten to {output} (exit code {int(code)}){look}", markup=False, highlight=False)
