"""From the start of a command to its first answer: python tests/benchmarks/bench_start.py [--large] [--engine NAME].

`inspect` on one picture with a checkpoint of each method, over the demonstration's backbone and, with --large, over
ViT-L-14-336 with random weights in a file. Beside it what `import torch` alone takes. Processes of their own, in turn;
the first round, in which files come from the disk and an engine's model is made, does not count.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import BACKBONE, METHODS, on_disk, row
from PIL import Image

PROGRAM = Path(sys.executable).with_name("anomalib-zsad")


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and CPU seconds of a process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, used


def measure(checkpoints: dict[str, Path], folder: Path, repeats: int, engine: str) -> None:
    """Rows for some checkpoints."""
    how = [] if engine == "torch" else ["--engine", engine, "--engine-cache", str(folder / "engines")]
    commands = {"import torch": [sys.executable, "-c", "import torch"]}
    for name, path in checkpoints.items():
        fixed = ["inspect", "-i", str(folder / "in"), "--checkpoint", str(path), "--no-progress"]
        commands[name] = [str(PROGRAM), *fixed, *how]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):
        for name, command in commands.items():
            output = [] if name == "import torch" else ["-o", str(folder / f"out-{name}-{repeat}")]
            found = run([*command, *output])
            times[name] += [found] if repeat else []
    for name, found in times.items():
        bounds: tuple[Any, ...] = ("4", "2.5") if "demo" in name else ("8", "5") if BACKBONE in name else ()
        seconds, used = (statistics.median(values) for values in zip(*found, strict=True))
        by = "" if engine == "torch" or name == "import torch" else f", by {engine}"
        row(f"{name}{by}, from start to end", seconds, "s", *bounds, cpu_seconds=used)


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true", help=f"{BACKBONE}, too, of which a file of 1.7 GB is written")
    parser.add_argument("--engine", choices=("torch", "openvino", "onnxruntime"), default="torch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)).save(
            folder / "in" / "a.png"
        )
        made = {
            f"{method}, {backbone}": path
            for backbone in ("demo", *((BACKBONE,) if arguments.large else ()))
            for method, path in on_disk(METHODS, backbone, folder).items()
        }
        measure(made, folder, arguments.repeats, arguments.engine)


if __name__ == "__main__":
    main()
