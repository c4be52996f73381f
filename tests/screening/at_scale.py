"""A screening run of some kind, in a process of its own: python -m tests.screening.at_scale KIND INPUT OUTPUT FUSES.

Kinds are `alone`, `part-0` and `part-1` (of two), `local` and `ray` with a number of workers behind them.
"""

import sys
from dataclasses import replace
from pathlib import Path

from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen, screen_by_crew
from anomalib_zsad.screening.workers import StartSeriesWorker
from anomalib_zsad.units.crew import Crew
from anomalib_zsad.units.worker_count import Share
from tests.screening.crew_hands import BuildDeadly

OPTIONS = ScreeningOptions(volume=VolumeOptions(window="brain", previews=1), resume=True, progress=False)


def main() -> int:
    """Screen, and exit with the run's code."""
    kind, source, output, fuses = sys.argv[1], *map(Path, sys.argv[2:5])
    build = BuildDeadly(fuses)
    if kind == "alone":
        return screen(source, output, build("cpu"), OPTIONS)[0]
    if kind.startswith("part-"):
        options = replace(OPTIONS, num_parts=2, part_id=int(kind[5:]))
        return screen(source, output, build("cpu"), options)[0]
    start, count = StartSeriesWorker(build, ("cpu",), output, OPTIONS), int(kind[-1])
    crew: Crew
    if kind.startswith("ray"):
        from anomalib_zsad.units.ray_crew import RayCrew

        crew = ray = RayCrew()
        ray.staff(start)
    else:
        from anomalib_zsad.units.local_crew import LocalCrew

        crew = LocalCrew(start)
    return screen_by_crew(source, output, crew, OPTIONS, lambda _: Share(count, 1, ""))[0]


if __name__ == "__main__":
    raise SystemExit(main())
