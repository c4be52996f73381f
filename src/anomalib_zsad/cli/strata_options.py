"""Options of a table of strata: which file, and which of its columns."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalib_zsad.evaluation.strata.strata_table import StrataTable


def add_strata_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("strata (docs/protocol.md)")
    group.add_argument(
        "--strata",
        type=Path,
        metavar="FILE",
        help="CSV table with a column image, volume, series or patient, and what is known of each, such as the scanner",
    )
    group.add_argument("--stratum", nargs="+", metavar="COLUMN", help="columns of it that make strata, each by itself")


def load_strata(args: argparse.Namespace) -> "StrataTable | None":
    """The table that was asked for, or none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: One of the two options is given without the other, or the table cannot be used.
    """
    from anomalib_zsad.evaluation.strata.strata_table import read_strata

    if args.strata is None and not args.stratum:
        return None
    if args.strata is None or not args.stratum:
        raise ValueError(
            "--strata FILE and --stratum COLUMN go together: a table, and which of its columns make strata"
        )
    return read_strata(args.strata, tuple(dict.fromkeys(args.stratum)))
