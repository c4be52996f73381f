"""What an archive costs with more workers than there are here: python tests/benchmarks/simulate_archive.py.

A simulation of events: one driver hands out units one after the other, each worker takes the next when it is free.
The driver's time a unit, the time of a series, start-up and sizes are measured figures, which are options here. Printed
are, for each number of workers, the hours that a run takes, the share of the time that workers are at work, and that of
the driver; and for each size of archive machine hours, storage and the driver's memory.
"""

import argparse
import heapq
import json
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figures:
    """Measured figures.

    Attributes:
        series_seconds: Of a worker for a series, on average.
        spread: Standard deviation of its logarithm.
        driver_ms: Of the driver for a unit, in milliseconds.
        start_seconds: Of a worker, until it is ready.
        found_a_second: Series that the driver finds in a second.
        input_mb, output_mb: Read and written for a series.
        driver_bytes: Of the driver's memory for a series.
    """

    series_seconds: float
    spread: float
    driver_ms: float
    start_seconds: float
    found_a_second: float
    input_mb: float
    output_mb: float
    driver_bytes: int


def simulate(figures: Figures, series: int, workers: int, seed: int = 0) -> dict[str, float]:
    """One run.

    Args:
        figures: Measured ones.
        series: How many series.
        workers: How many workers.
        seed: Of the times of series.

    Returns:
        Hours of the run and of looking for series before it, and shares of the time that workers and driver are busy.
    """
    random = np.random.default_rng(seed)
    mean = np.log(figures.series_seconds) - figures.spread**2 / 2
    times = random.lognormal(mean, figures.spread, series)
    found = series / figures.found_a_second
    free = [max(figures.start_seconds, found)] * workers
    driver = found
    end = 0.0
    for seconds in times:
        driver = max(driver, free[0]) + figures.driver_ms / 1000
        heapq.heapreplace(free, driver + seconds)
        end = max(end, driver + seconds)
    working = max(end - found, 1e-9)
    return {
        "hours": end / 3600,
        "looking_hours": found / 3600,
        "workers_busy": float(times.sum()) / (workers * working),
        "driver_busy": series * figures.driver_ms / 1000 / working,
    }


def plan(figures: Figures, series: int) -> dict[str, float]:
    """What an archive costs in all."""
    return {
        "series": series,
        "worker_hours": series * figures.series_seconds / 3600,
        "read_tb": series * figures.input_mb / 1e6,
        "written_tb": series * figures.output_mb / 1e6,
        "driver_gib": series * figures.driver_bytes / 2**30,
        "looking_hours": series / figures.found_a_second / 3600,
        "workers_that_fill_the_driver": figures.series_seconds / (figures.driver_ms / 1000),
    }


def main() -> None:
    """Print a line of JSON for each number of workers, and for each size of archive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series-seconds", type=float, default=60.0)
    parser.add_argument("--spread", type=float, default=0.7)
    parser.add_argument("--driver-ms", type=float, default=2.0)
    parser.add_argument("--start-seconds", type=float, default=20.0)
    parser.add_argument("--found-a-second", type=float, default=80.0)
    parser.add_argument("--input-mb", type=float, default=100.0)
    parser.add_argument("--output-mb", type=float, default=20.0)
    parser.add_argument("--driver-bytes", type=int, default=4000)
    parser.add_argument("--series", type=int, default=100_000, help="of the simulated runs")
    args = vars(parser.parse_args())
    series = args.pop("series")
    figures = Figures(**args)
    for workers in (1, 2, 100, 1000):
        answer = {name: round(value, 4) for name, value in simulate(figures, series, workers).items()}
        print(json.dumps({"workers": workers, "series": series, **answer}))
    for size in (100_000, 10_000_000):
        print(json.dumps({name: round(value, 3) for name, value in plan(figures, size).items()}))


if __name__ == "__main__":
    main()
