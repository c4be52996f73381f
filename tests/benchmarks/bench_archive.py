"""An archive of small series, without a model: python tests/benchmarks/bench_archive.py [MEASURE ...].

growth: CPU seconds a series and resident memory in each tenth of a run, and what the summary of all costs.
growth-with-pages: the same with the results that a run has by default: pages, pictures, the SEG.
discovery: series found a second, the second time, when the files are in memory.
overhead: milliseconds a unit that does nothing takes, in this process, with local workers and with Ray's.
workers: two workers of one thread against one of two threads, with the demonstration's model, alternating.

CPU seconds are told beside seconds, because other programs on the machine change the latter more. Where they change the
former too, a yardstick beside them tells by how much.
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
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.screening.series_units import SeriesTask
from anomalib_zsad.screening.workers import StartSeriesWorker
from anomalib_zsad.units.crew import Crew, Driver
from anomalib_zsad.units.local_crew import LocalCrew
from anomalib_zsad.volumes.reading.discovery import discover, index_series
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


def yardstick() -> float:
    """CPU seconds of work that is always the same: they tell how fast the machine is at the moment."""
    started = time.process_time()
    for number in range(20_000):
        json.dumps([number])
    return time.process_time() - started


class Watching(BrightSpotScorer):
    """Notes time and memory at each series, and from time to time how fast the machine is.

    Args:
        every: After how many series the speed is measured.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.notes: list[tuple[float, int]] = []
        self.speeds: list[float] = []
        self._every, self._measuring = every, 0.0

    def __call__(self, images: torch.Tensor) -> Any:
        self.batches.clear()
        self.notes.append((time.process_time() - self._measuring, resident()))
        if len(self.notes) % self._every == 0:
            started = time.process_time()
            self.speeds.append(yardstick())
            self._measuring += time.process_time() - started
        return super().__call__(images)


def growth_with_pages(folder: Path, series: int) -> dict[str, Any]:
    """Cost of a series in each tenth of a run with the results that there are by default."""
    return growth(folder, series, VolumeOptions(window="brain"))


def growth(folder: Path, series: int, volume: VolumeOptions = LEAST) -> dict[str, Any]:
    """Cost of a series in each tenth of a run."""
    write_archive(folder / "in", series)
    scorer = Watching(max(1, series // 100))
    started = time.process_time()
    screen(folder / "in", folder / "out", scorer, ScreeningOptions(volume=volume, progress=False))
    whole = time.process_time() - started
    notes = np.array(scorer.notes)
    edges = np.linspace(0, len(notes) - 1, 11).astype(int)
    costs = 1000 * np.diff(notes[edges, 0]) / np.diff(edges)
    speeds = 1000 * np.array([np.median(tenth) for tenth in np.array_split(scorer.speeds, 10)])
    memory = notes[edges[1:], 1] / 2**20
    return {
        "series": series,
        "cpu_ms_a_series_by_tenth": [round(value, 2) for value in costs],
        "yardstick_ms_by_tenth": [round(value, 2) for value in speeds],
        "last_tenth_by_first": round(costs[-1] / costs[0], 3),
        "last_tenth_by_first_on_an_equal_machine": round(costs[-1] / costs[0] * speeds[0] / speeds[-1], 3),
        "resident_mib_at_the_end_of_tenths": [round(value) for value in memory],
        "cpu_seconds_in_all": round(whole, 1),
        "record_bytes_a_series": (folder / "out" / ".units.jsonl").stat().st_size // series,
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
    """Two workers of one thread against one of two, alternating, each with a sixth of the series at a time."""
    write_archive(folder / "in", series)
    tasks = [SeriesTask(candidate, place) for place, candidate in enumerate(discover(folder / "in").candidates)]
    options, drivers, crews = ScreeningOptions(volume=LEAST, progress=False), {}, []
    for count, threads in ((2, 1), (1, 2)):
        output = folder / f"{count}x{threads}"
        crew = LocalCrew(StartSeriesWorker(BuildDemonstration(), ("cpu",), output, options, threads))
        drivers[output.name] = driver = Driver(crew)
        crews.append(crew)
        driver.grow(count)
        first, tasks = tasks[:4], tasks[4:]  # all workers, in any case, so that none is still warming up
        list(driver.run(iter(first)))
    seconds: dict[str, list[float]] = {name: [] for name in drivers}
    for chunk in np.array_split(np.arange(len(tasks)), 6):
        name = list(drivers)[len(seconds["2x1"]) > len(seconds["1x2"])]
        clock = time.perf_counter()
        list(drivers[name].run(tasks[number] for number in chunk))
        seconds[name].append((time.perf_counter() - clock) / len(chunk))
    for crew in crews:
        crew.close()
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    rounded = {name: [round(value, 4) for value in values] for name, values in seconds.items()}
    ratio = round(medians["1x2"] / medians["2x1"], 2)
    return {"series": series, "seconds_a_series": rounded, "times_the_throughput": ratio}


def main() -> None:
    """Print a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = (growth, growth_with_pages, discovery, overhead, workers)
    known = {measure.__name__.replace("_", "-"): measure for measure in measures}
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--series", type=int, default=5000)
    args = parser.parse_args()
    for name in args.measures or known:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"measure": name, **known[name](Path(folder), args.series)}), flush=True)


if __name__ == "__main__":
    main()
