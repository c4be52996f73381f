"""``anomalib-zsad info``: what is there, where it lies in space, and what screening would say; nothing is written."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.reading_arguments import EXIT_CODES, add_reading_arguments, reading_options

if TYPE_CHECKING:
    from anomalib_zsad.volumes.reading.inventory import InventoryItem


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line's subparsers."""
    parser = subparsers.add_parser(
        "info",
        help="list series of DICOM and NIfTI files with geometry and warnings (dry run of screen)",
        description="List what lies below a path: series, geometry, warnings. Nothing is written.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=Path, help="a file, a folder (searched to any depth) or a zip archive")
    parser.add_argument("--check", action="store_true", help="decode all pixels too: finds truncated DICOM files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_reading_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the inventory; see the exit codes of ``screen``."""
    from anomalib_zsad.volumes.reading.inventory import take_inventory

    try:
        items = list(take_inventory(args.input, reading_options(args), check=args.check))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    if args.json:
        records = [item.as_dict(with_files=args.source_names) for item in items]
        sys.stdout.write(json.dumps(records, indent=1) + "\n")
    else:
        _print_table(items, with_files=args.source_names)
    return _exit_code(items)


def _exit_code(items: "list[InventoryItem]") -> int:
    from anomalib_zsad.outputs.exit_codes import ExitCode

    refused = any(item.status == "refused" for item in items)
    if any(item.status.startswith("ready") for item in items):
        return ExitCode.SOME_REFUSED if refused else ExitCode.DONE
    return ExitCode.ALL_REFUSED if refused else ExitCode.NOTHING_FOUND


def _print_table(items: "list[InventoryItem]", *, with_files: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    table = Table("series", "kind", "size", "spacing (mm)", "axes", "status")
    if with_files:
        table.add_column("source", overflow="fold")
    for item in items:
        size = " x ".join(map(str, item.shape))
        spacing = " x ".join(f"{length:.3g}" for length in item.spacing) if item.spacing else ""
        kind = f"{item.kind} {item.modality}".strip()
        cells = [item.series or "-", kind, size, spacing, item.orientation, item.status]
        table.add_row(*(Text(cell) for cell in [*cells, *([item.source] if with_files else [])]))
    console.print(table)
    for item in items:
        for finding in item.findings:
            console.print(f"{item.series or 'file'}: {finding.message}", markup=False, highlight=False, soft_wrap=True)
    if not items:
        console.print("nothing was found")
