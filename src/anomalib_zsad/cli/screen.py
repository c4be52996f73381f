"""`anomalib-zsad screen`: score DICOM series and NIfTI volumes, slice by slice, with maps on the input's grid."""

import argparse

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options
from anomalib_zsad.cli.decision_options import add_decision_options
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.image_options import count_pictures
from anomalib_zsad.cli.model_options import (
    add_engine_options,
    add_model_options,
    check_trained,
    engine_options,
    load_scorer,
    say_loading,
    say_model,
)
from anomalib_zsad.cli.reading_options import add_reading_options
from anomalib_zsad.cli.screening_options import PARTS, add_volume_options, print_summary, screening_options
from anomalib_zsad.cli.worker_options import add_worker_options, has_workers, screen_by_workers
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.records.run_summary import RunEntry
from anomalib_zsad.screening.options import ScreeningOptions

_EPILOG = """\
For each series a folder under its pseudonym: anomaly_map.nii.gz and
lesions.nii.gz on the input's grid, slices.csv, regions.csv, previews,
report.json, and report.html to look at. Where the source is DICOM also
lesions_seg.dcm (SEG), and by --output-type a parametric map, a structured
report, secondary captures and a PDF, which a PACS takes. For the run:
index.html, which links them, summary.json and summary.csv.

  anomalib-zsad screen -i STUDIES -o OUT --checkpoint model.ckpt \\
      --class-name brain

For research use only. Without a calibration nothing is decided: slices are
ranked. With one, p_value and flagged mean what it promises at the false-alarm
rate. `uncertain` are slices whose score the sampled prompts do not agree on.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Screen every series below a path. The input is only read.", _EPILOG)
    run_options.add_input(
        parser, "a file, a folder, a zip archive, or a place such as s3://bucket/studies", stores=True
    )
    run_options.add_output_folder(parser, stores=True)
    add_model_options(parser)
    add_engine_options(parser)
    add_volume_options(parser)
    add_decision_options(parser, "volumes")
    group = run_options.add_run_options(parser)
    group.add_argument("--series", nargs="+", default=[], metavar="NAME", help="only these, by pseudonym")
    group.add_argument("--list-series", action="store_true", help="list the series and stop, like info")
    add_worker_options(parser)
    add_options(parser.add_argument_group("parts of a run"), ScreeningOptions, PARTS)
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Screen, print a summary, and tell by the exit code how it went."""
    if args.list_series:
        from anomalib_zsad.cli import info

        return info.run(argparse.Namespace(**vars(args), check=False, json=False))
    run_options.check_input(args.input)
    check_trained(args)
    options = screening_options(args)
    engine_options(args)  # what makes no sense is told at once
    pictures = count_pictures(args.input)
    if pictures.alone:
        say(f"error: there is nothing to screen at the input path{pictures.hint}")
        return ExitCode.NOTHING_FOUND
    say_loading(args)
    code, entries = _by_workers(args, options) if has_workers(args) else _alone(args, options)
    print_summary(args.output, entries, code, options.rule)
    if code is ExitCode.NOTHING_FOUND:
        say(f"error: there is nothing to screen at the input path{pictures.hint}")
    return code


def _alone(args: argparse.Namespace, options: ScreeningOptions) -> tuple[ExitCode, list[RunEntry]]:
    from anomalib_zsad.screening.screen import screen

    return screen(args.input, args.output, load_scorer(args), options)


def _by_workers(args: argparse.Namespace, options: ScreeningOptions) -> tuple[ExitCode, list[RunEntry]]:
    code, entries, model = screen_by_workers(args, options)
    say_model(model)
    return code, entries
