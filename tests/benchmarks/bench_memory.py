"""Peak memory of a process that answers one image, and what each further image of a batch adds.

Each size in a process of its own: python tests/benchmarks/bench_memory.py
"""

import subprocess
import sys

from measuring import METHODS, memory, row

CHILD = """
import sys, torch
sys.path.insert(0, sys.argv[3])
from measuring import build, images, memory
before = memory("VmRSS")
with torch.inference_mode():
    build(sys.argv[1])(images(int(sys.argv[2])), "object")
print(before, memory("VmHWM"))
"""


def peak(method: str, count: int) -> tuple[float, float]:
    """Memory after the imports, and at its peak, in MiB."""
    folder = sys.path[0]
    command = [sys.executable, "-c", CHILD, method, str(count), folder]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    before, highest = answer.stdout.split()[-2:]
    return float(before), float(highest)


def main() -> None:
    """Print rows."""
    memory("VmRSS")
    for method in METHODS:
        (imports, one), (_, eight) = peak(method, 1), peak(method, 8)
        row(f"{method}, float32, peak memory", one / 1024, "GiB", "2.79", "2.33", imports_mib=imports)
        row(f"{method}, float32, memory for each further image of a batch", (eight - one) / 7, "MiB", "334")


if __name__ == "__main__":
    main()
