"""Run the benchmarks, one after the other, and put their rows into one table.

    python tests/benchmarks/run.py [NAME ...] [--all]

Each is a program of its own in this folder, in a process of its own, so that peaks of memory are its own, and prints a
line of JSON for each row. The table goes to the terminal and to results/benchmarks.md, all rows to
results/benchmarks.jsonl; both files are written after every program, so that a run that is cut off keeps what it has.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parents[1] / "results"
TABLE: dict[str, list[str]] = {
    "bench_inference": [],
    "bench_memory": [],
    "bench_start": ["--large"],
    "bench_training": [],
    "bench_volume": [],
    "bench_node": [],
    "bench_openvino": [],
    "bench_int8": ["--backbone", "demo"],
    "bench_tiles": [],
    "bench_station": [],
    "bench_pages": [],
}
# Of single parts; they print text. Arguments that suit two cores and a coffee break.
PARTS = {
    "bench_cops": ["--backbone", "demo", "--repeats", "7"],
    "bench_metrics": ["--images", "200"],
    "bench_evaluate": ["--images", "100"],
    "bench_screening_memory": [],
}
console = Console()


def main() -> int:
    """Run what was asked for; 1 where a program failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TABLE, *PARTS, []], help="which; by default those of the table")
    parser.add_argument("--all", action="store_true", help="those of single parts too")
    options = parser.parse_args()
    names = options.names or [*TABLE, *(PARTS if options.all else ())]
    RESULTS.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    failed = []
    for name in names:
        found, text, code = run(name)
        if torch.cuda.is_available() and name == "bench_inference":
            found += run(name, "--device", "cuda")[0]
        rows += found
        if found:
            keep(found, table_of(rows))
        if code:
            failed.append(name)
        if name in PARTS or code:
            console.print(text, markup=False, highlight=False)
    if rows:
        console.print(table_of(rows), markup=False, highlight=False, soft_wrap=True)
        console.print(f"Kept in {RESULTS / 'benchmarks.md'}", highlight=False)
    for name in failed:
        console.print(f"[red]{name} failed[/]")
    return 1 if failed else 0


def run(name: str, *arguments: str) -> tuple[list[dict[str, Any]], str, int]:
    """Rows, text and exit status of one program."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *(TABLE | PARTS)[name], *arguments]
    with console.status(f"{name} ..."):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"row"')]
    return rows, done.stdout + (done.stderr if done.returncode else ""), done.returncode


def _numbers(details: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by name; those of a nested mapping under both names."""
    for name, value in details.items():
        if isinstance(value, Mapping):
            yield from ((f"{name} {own}", number) for own, number in _numbers(value))
        elif isinstance(value, int | float):
            yield name, value


def table_of(rows: list[dict[str, Any]]) -> str:
    """The table of a run, under the conditions that it was measured in."""
    header = ["measured", "", "must", "aim", "details"]
    table = ["| | " + " | ".join(header) + " |", "| --- | ---: | --- | --- | --- | --- |"]
    for row in rows:
        details = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in _numbers(row["details"]))
        cells = [row["row"], f"{row['measured']:.3g}", row["unit"], row["must"], row["aim"], details]
        table.append("| " + " | ".join(cells) + " |")
    return f"{conditions()}\n\n" + "\n".join(table) + "\n"


def conditions() -> str:
    """Processor, threads and versions, and what R is."""
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {processor()}, {torch.get_num_threads()} threads, "
        f"torch {version('torch')}, open_clip {version('open_clip_torch')}, Python {platform.python_version()}. "
        "R: open_clip's encode_image of one image, same run, type and threads."
    )


def keep(found: list[dict[str, Any]], table: str) -> None:
    """Write the table so far, and put the rows of one more program to those of earlier runs."""
    (RESULTS / "benchmarks.md").write_text(table, encoding="utf-8")
    lines = "".join(json.dumps({"conditions": conditions(), **row}) + "\n" for row in found)
    with (RESULTS / "benchmarks.jsonl").open("a", encoding="utf-8") as file:
        file.write(lines)


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
