"""Options of a run: where it reads, where it writes, and how it goes on; the same in every command."""

import argparse
from pathlib import Path

from anomalib_zsad.outputs.exit_codes import ExitCode


def add_input(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `-i/--input`, a path."""
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="PATH", help=what)


def add_output_folder(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `-o/--output`, a folder."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=required,
        metavar="FOLDER",
        help="a new or empty folder, outside the input",
    )


def add_progress(group: "argparse._ArgumentGroup") -> None:
    """Add `--no-progress`."""
    group.add_argument(
        "--no-progress",
        dest="progress",
        action="store_false",
        help="no progress bars (there are none without a terminal)",
    )


def add_run_options(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add `--resume` and `--no-progress` in a group of their own, which is returned."""
    group = parser.add_argument_group("run")
    group.add_argument("--resume", action="store_true", help="go on with an earlier run in the same output folder")
    add_progress(group)
    return group


def describe(parser: argparse.ArgumentParser, description: str, epilog: str = "") -> None:
    """What a command does, and at the end the exit codes."""
    parser.description = description
    parser.epilog = "\n".join(part for part in (epilog.strip(), ExitCode.table()) if part)


def check_input(path: Path) -> None:
    """Refuse an input that is not there, before a model is loaded.

    Raises:
        FileNotFoundError: If there is nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {path}")
