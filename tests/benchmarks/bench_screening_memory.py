"""Memory and time of screening one long series, without a model: python tests/benchmarks/bench_screening_memory.py.

A child process for each length of series reads, scores (what is bright is abnormal) and writes; its peak resident
memory above the imports is compared with the volume's size (float32). "Volume plus a fixed amount" means that the
excess does not grow with the number of slices.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SIDE = 512

CHILD = """
import json, re, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import highdicom, nibabel, matplotlib, scipy.ndimage, skimage.filters, monai.data
from anomalib_zsad.screening.options import ScreeningOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.screening.options import VolumeOptions
from tests.screening.bright_spot import BrightSpotScorer

def status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before, started = status("VmRSS"), time.perf_counter()
options = ScreeningOptions(volume=VolumeOptions(window="brain"), progress=False)
code, entries = screen(Path(sys.argv[1]), Path(sys.argv[2]), BrightSpotScorer(), options)
seconds = time.perf_counter() - started
print(json.dumps({"code": int(code), "before": before, "peak": status("VmHWM"), "seconds": seconds}))
"""


def write_series(folder: Path, slices: int) -> None:
    """A noisy CT of SIDE x SIDE pixels, one slice in memory at a time."""
    from anomalib_zsad.demo.phantom_dicom import slice_dataset

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    plane = random.integers(0, 70, (SIDE, SIDE)).astype(np.int16)
    for index in range(slices):
        plane = np.roll(plane, 7, axis=0)
        dataset = slice_dataset(plane, affine, index, seed="benchmark", modality="CT")
        dataset.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def measure(slices: int) -> dict[str, float]:
    """Screen a series of some length in a child process."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "series"
        write_series(source, slices)
        command = [sys.executable, "-c", CHILD, str(source), str(Path(temporary) / "out"), str(ROOT)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout.splitlines()[-1])
    volume = slices * SIDE * SIDE * 4
    return {
        "slices": slices,
        "volume_mib": volume / 2**20,
        "imports_mib": found["before"] / 2**20,
        "peak_mib": found["peak"] / 2**20,
        "above_imports_and_volume_mib": (found["peak"] - found["before"] - volume) / 2**20,
        "seconds": found["seconds"],
    }


def main() -> None:
    """Print one line of JSON for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, nargs="+", default=[100, 300, 600])
    for slices in parser.parse_args().slices:
        started = time.perf_counter()
        result = measure(slices)
        result["seconds_with_making_the_series"] = time.perf_counter() - started
        print(json.dumps({name: round(value, 1) for name, value in result.items()}), flush=True)


if __name__ == "__main__":
    main()
