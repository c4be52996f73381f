"""Options of a run: where it reads, where it writes, and how it goes on; the same in every command."""

import argparse
from pathlib import Path

from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.object_store import Place, place_of


def local_path(text: str) -> Path:
    """A path of this machine.

    Raises:
        argparse.ArgumentTypeError: If it is an address of an object store, which the command knows nothing of.
    """
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: only screen, info and merge know object stores; copy or mount it")
    return Path(text)


def place(text: str) -> Place:
    """A path of this machine, or a place in an object store.

    Raises:
        argparse.ArgumentTypeError: If no such store is known, or the package for it is missing.
    """
    try:
        return place_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_input(parser: argparse.ArgumentParser, what: str, *, stores: bool = False) -> None:
    """Add `-i/--input`: a path, or where `stores` says so a place in an object store."""
    kind = place if stores else local_path
    parser.add_argument("-i", "--input", type=kind, required=True, metavar="PATH", help=what)


def add_output_folder(parser: argparse.ArgumentParser, *, required: bool = True, stores: bool = False) -> None:
    """Add `-o/--output`: a folder, or where `stores` says so a place in an object store."""
    where = ", or a place such as s3://bucket/results" if stores else ""
    parser.add_argument(
        "-o",
        "--output",
        type=place if stores else local_path,
        required=required,
        metavar="FOLDER",
        help=f"a new or empty folder, outside the input{where}",
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


def check_input(path: Place) -> None:
    """Refuse an input that is not there, before a model is loaded.

    Raises:
        FileNotFoundError: If there is nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {path}")
