"""Peak memory of a process that answers one image, and what each further image of a batch adds.

Each in a process of its own: python tests/benchmarks/bench_memory.py. The first rows are a command's way from a
checkpoint and weights on the disk to an answer; the others the torch model alone.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import BACKBONE, METHODS, memory, on_disk, peak_of_an_answer, row

CHILD = """
import sys, torch
sys.path.insert(0, sys.argv[3])
from measuring import build, images, memory
with torch.inference_mode():
    build(sys.argv[1])(images(int(sys.argv[2])), "object")
print(memory("VmHWM"))
"""


def peak(method: str, count: int) -> float:
    """Memory at its peak, in MiB, of a process that answers a batch."""
    command = [sys.executable, "-c", CHILD, method, str(count), sys.path[0]]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    """Print rows."""
    memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        for method, checkpoint in on_disk(METHODS, BACKBONE, Path(folder)).items():
            imports, one = peak_of_an_answer(checkpoint)
            row(f"{method}, float32, peak memory", one / 1024, "GiB", "2.51", "2.14", imports_mib=imports)
    for method in METHODS:
        added = (peak(method, 8) - peak(method, 1)) / 7
        row(f"{method}, float32, memory for each further image of a batch", added, "MiB", "334")


if __name__ == "__main__":
    main()
