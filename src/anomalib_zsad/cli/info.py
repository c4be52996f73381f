"""`anomalib-zsad info`: what is there, where it lies in space, and what screening would say; nothing is written."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.image_options import Pictures, count_pictures
from anomalib_zsad.cli.reading_options import add_reading_options, reading_options
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import console, plain_table, visible

if TYPE_CHECKING:
    from anomalib_zsad.volumes.reading.inventory import InventoryItem


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    description = "List what lies below a path: series, geometry, warnings. Nothing is written."
    run_options.describe(parser, description, "  anomalib-zsad info -i STUDIES")
    what = "a file, a folder (searched to any depth), a zip archive, or a place such as s3://bucket/studies"
    run_options.add_input(parser, what, stores=True)
    parser.add_argument("--check", action="store_true", help="decode all pixels too: finds truncated DICOM files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the inventory; the exit code is the one that `screen` would give."""
    options = reading_options(args)
    from anomalib_zsad.volumes.reading.inventory import take_inventory

    items = list(take_inventory(args.input, options, check=args.check))
    if args.json:
        records = [item.as_dict(with_files=args.source_names) for item in items]
        sys.stdout.write(json.dumps(records, indent=1) + "\n")
    else:
        _print_table(items, count_pictures(args.input), with_files=args.source_names)
    return _exit_code(items)


def _exit_code(items: "Sequence[InventoryItem]") -> ExitCode:
    refused = any(item.status == "refused" for item in items)
    if any(item.status.startswith("ready") for item in items):
        return ExitCode.SOME_REFUSED if refused else ExitCode.DONE
    return ExitCode.ALL_REFUSED if refused else ExitCode.NOTHING_FOUND


def _print_table(items: "Sequence[InventoryItem]", pictures: Pictures, *, with_files: bool) -> None:
    from rich.text import Text

    out = console()
    source = ("source",) if with_files else ()
    table = plain_table("series", "kind", "size", "spacing (mm)", "axes", "status", *source, whole=["series", "axes"])
    for item in items:
        size = " x ".join(map(str, item.shape))
        spacing = " x ".join(f"{length:.3g}" for length in item.spacing) if item.spacing else ""
        kind = f"{item.kind} {item.modality}".strip()
        cells = [item.series or "-", kind, size, spacing, item.orientation, item.status]
        table.add_row(*(Text(visible(cell)) for cell in [*cells, *([item.source] if with_files else [])]))
    out.print(table)
    for item in items:
        for finding in item.findings:
            out.print(
                visible(f"{item.series or 'file'}: {finding.message}"), markup=False, highlight=False, soft_wrap=True
            )
    if not items:
        out.print("nothing was found")
    if pictures.alone:
        out.print(pictures.hint.lstrip("; "), markup=False, highlight=False, soft_wrap=True)
