"""An archive of small series, without a model: python tests/benchmarks/bench_archive.py [MEASURE ...].

growth: CPU seconds a series and resident memory in each tenth of a run, and what the summary of all costs.
discovery: series found a second, the second time, when the files are in memory.
overhead: milliseconds a unit that does nothing takes, in this process, with local workers and with Ray's.
workers: two workers of one thread against one of two threads, with the demonstration's model, alternating.

CPU seconds are told beside seconds, because other programs on the machine change only the latter.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from anomalib_zsad.demo.phantom_dicom import write_dicom_series
from anomalib_zsad.demo.phantoms import make_phantom
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen, screen_by_crew
from anomalib_zsad.screening.workers import StartSeriesWorker
from anomalib_zsad.units.crew import Crew, Driver
from anomalib_zsad.units.local_crew import LocalCrew
from anomalib_zsad.units.worker_count import Share
from anomalib_zsad.volumes.reading.discovery import index_series
from tests.screening.bright_spot import BrightSpotScorer

SLICES = 4
LEAST = VolumeOptions(window="brain", output_types=("nifti",), previews=0, pages=False)


def write_archive(folder: Path, series: int) -> None:
    """Small head CTs, 64 x 64 pixels, in folders of a hundred."""
    phantoms = [make_phantom("head_ct", seed, lesion=bool(seed % 2)) for seed in range(8)]
    for number in range(series):
        phantom = phantoms[number % 8]
        voxels = np.roll(phantom.voxels[::2, ::2, 4 : 4 + SLICES], number // 8 % 64, axis=0)
        write_dicom_series(folder / f"{number // 100:03d}" / f"{number:06d}", voxels, phantom.affine, seed=f"{number}")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watching(BrightSpotScorer):
    """Notes time and memory at each series."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[float, float, int]] = []

    def __call__(self, images: torch.Tensor) -> Any:
        self.batches.clear()
        self.notes.append((time.process_time(), time.perf_counter(), resident()))
        return super().__call__(images)


def growth(folder: Path, series: int) -> dict[str, Any]:
    """Cost of a series in each tenth of a run."""
    write_archive(folder / "in", series)
    scorer = Watching()
    started = time.process_time()
    screen(folder / "in", folder / "out", scorer, ScreeningOptions(volume=LEAST, progress=False))
    whole = time.process_time() - started
    notes = np.array(scorer.notes)
    edges = np.linspace(0, len(notes) - 1, 11).astype(int)
    steps = np.diff(notes[edges], axis=0) / np.diff(edges)[:, None]
    records = (folder / "out" / ".units.jsonl").stat().st_size
    return {
        "series": series,
        "cpu_ms_a_series_by_tenth": [round(1000 * value, 2) for value in steps[:, 0]],
        "resident_mib_at_the_end_of_tenths": [round(value / 2**20) for value in notes[edges[1:], 2]],
        "cpu_seconds_in_all": round(whole, 1),
        "record_bytes_a_series": records // series,
        "summary_json_bytes": (folder / "out" / "summary.json").stat().st_size,
    }


def discovery(folder: Path, series: int) -> dict[str, Any]:
    """Speed of finding series."""
    if not (folder / "in").exists():
        write_archive(folder / "in", series)
    speeds, memory = [], resident()
    for _ in range(2):
        cpu, clock = time.process_time(), time.perf_counter()
        with index_series(folder / "in") as index:
            found = sum(1 for _ in index)
        speeds.append((found / (time.process_time() - cpu), found / (time.perf_counter() - clock)))
    return {
        "series": series,
        "files": series * SLICES,
        "series_a_cpu_second": round(speeds[1][0]),
        "series_a_second": round(speeds[1][1]),
        "grown_by_mib": round((resident() - memory) / 2**20, 1),
    }


@dataclass(frozen=True)
class StartNothing:
    """Hands that do nothing."""

    def __call__(self, task: int) -> "StartNothing | int":
        return self

    def describe(self) -> None:
        """Nothing."""

    def configure(self, value: int) -> None:
        """Nothing."""


def overhead(folder: Path, series: int) -> dict[str, Any]:
    """What handing out a unit costs."""
    del folder
    found: dict[str, Any] = {"units": series}
    crews: dict[str, Callable[[], Crew]] = {"local": lambda: LocalCrew(StartNothing())}
    try:
        from anomalib_zsad.units.ray_crew import RayCrew

        def ray() -> Crew:
            crew = RayCrew()
            crew.staff(StartNothing())
            return crew

        crews["ray"] = ray
    except ValueError:
        pass
    for name, make in crews.items():
        clock = time.perf_counter()
        crew = make()
        driver = Driver(crew)
        found[f"{name}_start_seconds"] = round(time.perf_counter() - clock, 1)
        for count in (1, 2):
            driver.grow(count)
            list(driver.run(iter(range(20))))
            cpu, clock = time.process_time(), time.perf_counter()
            list(driver.run(iter(range(series))))
            found[f"{name}_{count}_ms_a_unit"] = round(1000 * (time.perf_counter() - clock) / series, 2)
            found[f"{name}_{count}_driver_cpu_ms_a_unit"] = round(1000 * (time.process_time() - cpu) / series, 2)
        crew.close()
    return found


@dataclass(frozen=True)
class BuildDemonstration:
    """Builds the demonstration's model."""

    def __call__(self, device: str) -> Any:
        from anomalib_zsad.scoring.build import build_scorer

        return build_scorer(None, "BayesPFL", {"backbone": "demo"}, device)


def workers(folder: Path, series: int) -> dict[str, Any]:
    """Two workers of one thread against one of two, from the first series to the last."""
    write_archive(folder / "in", series)
    seconds: dict[str, list[float]] = {"2x1": [], "1x2": []}
    for number in range(3):
        for name, share in (("2x1", Share(2, 1, "")), ("1x2", Share(1, 2, ""))):
            output = folder / f"{name}-{number}"
            options = ScreeningOptions(volume=LEAST, progress=False)
            crew = LocalCrew(StartSeriesWorker(BuildDemonstration(), ("cpu",), output, options, share.threads))
            screen_by_crew(folder / "in", output, crew, options, lambda _, share=share: share)
            stamps = sorted((path / "report.json").stat().st_mtime for path in output.glob("series-*"))
            seconds[name].append((stamps[-1] - stamps[0]) / (len(stamps) - 1))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {"series": series, "seconds_a_series": seconds, "times_the_throughput": medians["1x2"] / medians["2x1"]}


def main() -> None:
    """Print a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {measure.__name__: measure for measure in (growth, discovery, overhead, workers)}
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--series", type=int, default=5000)
    args = parser.parse_args()
    for name in args.measures or known:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"measure": name, **known[name](Path(folder), args.series)}), flush=True)


if __name__ == "__main__":
    main()
