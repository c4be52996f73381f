"""`anomalib-zsad weights`: published weights that are known. Nothing is downloaded."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from anomalib_zsad.cli import run_options
from anomalib_zsad.outputs.exit_codes import ExitCode


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "List published weights that are known. Nothing is downloaded.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--identify", type=Path, metavar="FILE", help="say which known weights a file holds")


def run(args: argparse.Namespace) -> int:
    """Print the registry, or identify a file."""
    from anomalib_zsad.models.known_weights import KNOWN_WEIGHTS

    if args.identify is not None:
        return _identify(args.identify)
    if args.json:
        sys.stdout.write(json.dumps([asdict(known) for known in KNOWN_WEIGHTS], indent=1) + "\n")
        return ExitCode.DONE
    for known in KNOWN_WEIGHTS:
        lines = {
            "method": known.method,
            "file": known.file,
            "trained on": known.auxiliary_set or "-",
            "intended for": known.intended_for,
            "constants": ", ".join(f"{key}={value}" for key, value in known.constants.items()) or "-",
            "licence": known.licence,
            "where": known.source,
            "size": f"{known.size} bytes" if known.size else "unknown",
            "sha256": f"{known.sha256} ({known.checksum_from})" if known.sha256 else "unknown",
        }
        text = "".join(f"  {key + ':':14}{value}\n" for key, value in lines.items())
        sys.stdout.write(f"{known.name}\n{text}\n")
    return ExitCode.DONE


def _identify(path: Path) -> int:
    from anomalib_zsad.models.known_weights import recognise

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    known, certain = recognise(path)
    if known is None:
        sys.stdout.write(f"{path.name} is none of the known weights.\n")
        return ExitCode.NOTHING_FOUND
    basis = "its checksum says so" if certain else "presumed from its name; no checksum is known"
    sys.stdout.write(f"{path.name} is {known.name}, trained on {known.auxiliary_set or '-'} ({basis}).\n")
    return ExitCode.DONE
