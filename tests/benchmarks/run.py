"""Run every benchmark, one after the other, and keep what they print: python tests/benchmarks/run.py [NAME ...].

Each is a program of its own in this folder, in a process of its own, so that peaks of memory are its own. Ratios and
memory are what to read; seconds depend on the machine.
"""

import argparse
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Arguments that suit two cores and a coffee break; each program's own defaults are the full size.
ARGUMENTS = {
    "bench_metrics": ["--images", "200"],
    "bench_evaluate": ["--images", "100"],
    "bench_cops": ["--backbone", "demo", "--batch", "8", "--repeats", "7"],
    "bench_screening_memory": [],
}


def main() -> int:
    """Run the benchmarks asked for and write results/benchmarks.txt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*ARGUMENTS, []], help="which; all by default")
    parser.add_argument("--full", action="store_true", help="at full size, as far as each program has one")
    options = parser.parse_args()
    output = FOLDER.parents[1] / "results" / "benchmarks.txt"
    output.parent.mkdir(exist_ok=True)
    failed = 0
    with output.open("a", encoding="utf-8") as file:
        file.write(f"# {datetime.now(timezone.utc).isoformat(timespec='seconds')}\n")
        for name in options.names or ARGUMENTS:
            command = [sys.executable, str(FOLDER / f"{name}.py"), *([] if options.full else ARGUMENTS[name])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            text = f"## {name}\n{done.stdout}{done.stderr if done.returncode else ''}\n"
            sys.stdout.write(text)
            file.write(text)
            failed += done.returncode != 0
    sys.stdout.write(f"Kept in {output}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
