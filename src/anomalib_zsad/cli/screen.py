"""`anomalib-zsad screen`: score DICOM series and NIfTI volumes, slice by slice, with maps on the input's grid."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from anomalib_zsad.calibration.decision_rule import DecisionRule, decision_in_words
from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import add_decision_options, decision_rule
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import add_model_options, check_trained, method_of, say_demonstration, say_loading
from anomalib_zsad.cli.reading_options import SLICING, add_reading_options, reading_options
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import console, visible
from anomalib_zsad.records.run_summary import RunEntry, nothing_was_left
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions

_EPILOG = """\
For each series a folder under its pseudonym: anomaly_map.nii.gz and
lesions.nii.gz on the input's grid, slices.csv, regions.csv, previews,
report.json, and report.html to look at. Where the source is DICOM also
lesions_seg.dcm (SEG), and by --output-type a parametric map, a structured
report, secondary captures and a PDF, which a PACS takes. For the run:
index.html, which links them, summary.json and summary.csv.

  anomalib-zsad screen -i STUDIES -o OUT --checkpoint model.ckpt \\
      --class-name brain

For research use only. Scores are uncalibrated unless a calibration is given:
then p_value and flagged mean what the calibration promises at the false-alarm
rate. `uncertain` are slices whose score the sampled prompts do not agree on.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Screen every series below a path. The input is only read.", _EPILOG)
    run_options.add_input(parser, "a file, a folder or a zip archive")
    run_options.add_output_folder(parser)
    add_model_options(parser)
    outputs = {
        "output_types": "kinds of maps to write",
        "map_type": "type of NIfTI maps; int16 is within 2e-5 of float32, uint8 within 2e-3",
        "previews": "number of pictures of top slices",
        "std_map": "write the map of standard deviations as well",
        "pages": "no report.html for series, no index.html for the run",
    }
    add_options(
        parser.add_argument_group("screening"),
        VolumeOptions,
        {**outputs, **SLICING},
        output_types=("-ot", "--output-type"),
    )
    add_decision_options(parser, "volumes")
    group = run_options.add_run_options(parser)
    group.add_argument("--series", nargs="+", default=[], metavar="NAME", help="only these, by pseudonym")
    group.add_argument("--list-series", action="store_true", help="list the series and stop, like info")
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Screen, print a summary, and tell by the exit code how it went."""
    if args.list_series:
        from anomalib_zsad.cli import info

        return info.run(argparse.Namespace(**vars(args), check=False, json=False))
    run_options.check_input(args.input)
    check_trained(args)
    volume, rule = fill(VolumeOptions, args), decision_rule(args, "volumes")
    options = fill(ScreeningOptions, args, reading=reading_options(args), volume=volume, rule=rule)
    say_loading(args)
    from anomalib_zsad.scoring.build import build_scorer
    from anomalib_zsad.screening.screen import screen

    scorer = build_scorer(args.checkpoint, method_of(args), args.model_arguments, args.device, args.class_name)
    say_demonstration(scorer.describe().get("backbone"))
    code, entries = screen(args.input, args.output, scorer, options)
    _print_summary(args.output, entries, code, rule)
    if code is ExitCode.NOTHING_FOUND:
        say("error: there is nothing to screen at the input path")
    return code


def _print_summary(output: Path, entries: Sequence[RunEntry], code: ExitCode, rule: DecisionRule) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    calibrated = ["p", "decision"] if rule.calibration is not None else []
    table = Table("series", "status", "slices", "flagged", "uncertain", "score", *calibrated, "reason")
    for entry in entries:
        numbers = [entry.slices, entry.flagged_slices, entry.uncertain_slices]
        cells = ["" if number is None else str(number) for number in numbers]
        scores = [entry.volume_score, entry.volume_p_value][: 2 if calibrated else 1]
        cells += ["" if score is None else f"{score:.3f}" for score in scores]
        cells += [decision_in_words(entry.volume_decision or "")] if calibrated else []
        table.add_row(*(Text(visible(cell)) for cell in [entry.series or "-", entry.status, *cells, entry.reason]))
    out.print(table)
    look = f"; look at {output / 'index.html'}" if (output / "index.html").is_file() else ""
    if nothing_was_left(entries):
        out.print("nothing left to do: an earlier run had screened all of it")
    out.print(
        f"{rule.statement}\nwritten to {output} (exit code {code.value}: {code.meaning}){look}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
