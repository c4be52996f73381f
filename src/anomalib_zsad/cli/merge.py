"""`anomalib-zsad merge`: one summary, and one folder, of the parts of a run of `screen` or `inspect`."""

import argparse
from pathlib import Path

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.screening_options import print_entries
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import read_run

_EPILOG = """\
Parts that were screened in folders of their own become one run. Result
folders are linked, or copied to another file system; the parts stay.

  anomalib-zsad merge part-0 part-1 part-2 -o OUT

Of parts that shared one folder, the summary is made anew:

  anomalib-zsad merge OUT

Of images, all parts are needed; neither model nor images are:

  anomalib-zsad merge inspected-0 inspected-1 -o inspected
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Make one run of parts (screen or inspect, --num-parts).", _EPILOG)
    parser.add_argument(
        "folders",
        type=run_options.place,
        nargs="+",
        metavar="FOLDER",
        help="output folders of screen, or of inspect; one place in an object store",
    )
    run_options.add_output_folder(parser, required=False)
    parser.add_argument("--resume", action="store_true", help="go on with an earlier merge in the same output folder")


def run(args: argparse.Namespace) -> int:
    """Merge, print what there is, and tell by the exit code whether something was refused or is missing."""
    first = args.folders[0]
    images = isinstance(first, Path) and read_run(first)["command"] == "inspect"
    return _merge_images(args) if images else _merge_series(args)


def _merge_series(args: argparse.Namespace) -> int:
    from anomalib_zsad.screening.merge import merge
    from anomalib_zsad.screening.screen import exit_code

    merged = merge(args.folders, args.output, resume=args.resume)
    code = exit_code(merged.entries)
    if code is ExitCode.DONE and merged.state != "complete":
        code = ExitCode.SOME_REFUSED
    statement = merged.statement if merged.state == "complete" else f"{merged.state}\n{merged.statement}"
    output = args.output or args.folders[0]
    print_entries(output, merged.entries, code, statement, calibrated=any(e.volume_p_value for e in merged.entries))
    return code


def _merge_images(args: argparse.Namespace) -> int:
    from anomalib_zsad.cli.inspect import exit_code, print_summary
    from anomalib_zsad.inspection.merge_parts import merge_parts

    if args.output is None:
        raise ValueError("parts of inspect need an --output folder")
    if not all(isinstance(folder, Path) for folder in args.folders):
        raise ValueError("parts of inspect lie in folders; an object store holds runs of screen alone")
    inspection, options = merge_parts(args.folders, args.output, resume=args.resume)
    code = exit_code(inspection.records)
    print_summary(args.output, inspection, options, code)
    return code
