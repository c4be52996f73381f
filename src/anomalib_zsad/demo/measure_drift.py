"""`python -m anomalib_zsad.demo.measure_drift`: how often the drift test is wrong, and how soon it notices a change.

Scores are drawn: of normal images, logistic functions of normally distributed numbers; of defects, higher ones. Every
run draws a calibration of its own.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.betting import P_VALUE_KINDS, Bets, p_value_factors
from anomalib_zsad.calibration.drift import DriftOptions, DriftTest

RATE = 0.05


@dataclass(frozen=True)
class Production:
    """Scores as a line gives them.

    Attributes:
        shift: By how many standard deviations normal images score higher.
        spread: How many times as far their scores lie apart.
        defects: Share of defects.
    """

    shift: float = 0.0
    spread: float = 1.0
    defects: float = 0.0

    def draw(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        """So many scores."""
        levels = self.shift + self.spread * random.normal(size=count)
        defect = random.random(count) < self.defects
        return 1 / (1 + np.exp(3 - np.where(defect, 4 + random.normal(size=count), levels)))


def _calibration(random: np.random.Generator, units: int) -> Calibration:
    return Calibration("images", {"image": tuple((float(score),) for score in Production().draw(random, units))}, {})


def alarm(seed: int, units: int, parts: Sequence[tuple[Production, int]], chance: float) -> int | None:
    """At which image a run raises the alarm; `None` if it never does.

    Args:
        seed: Of the run.
        units: Images calibrated on.
        parts: What is produced, one after the other, and how many images of it.
        chance: See `DriftOptions.drift_chance`.
    """
    random = np.random.default_rng(seed)
    test = DriftTest(_calibration(random, units), RATE, DriftOptions(chance))
    for production, count in parts:
        for score in production.draw(random, count):
            if test.add(float(score)):
                return test.images
    return None


def alarm_without_ranks(seed: int, units: int, images: int, chance: float) -> int | None:
    """The same bets on p-values against the calibration alone, which all later images are compared with."""
    random = np.random.default_rng(seed)
    known = np.sort(Production().draw(random, units))
    bets = Bets(P_VALUE_KINDS)
    for number, score in enumerate(Production().draw(random, images), 1):
        above = units - int(np.searchsorted(known, score))
        bets.play(p_value_factors((above + random.random()) / (units + 1)))
        if bets.total >= 1 / chance:
            return number
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, each row when it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--images", type=int, default=1000, help="of each run without a change")
    options = parser.parse_args(arguments)
    _false_alarms(options.runs, options.images)
    _delays(max(1, options.runs // 20))
    return 0


def _row(*cells: object) -> None:
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


# Images calibrated on, share of defects, alpha.
_UNCHANGED = ((20, 0.0, 0.01), (40, 0.0, 0.01), (100, 0.0, 0.01), (400, 0.0, 0.01), (100, 0.0, 0.05), (100, 0.05, 0.05))


def _false_alarms(runs: int, images: int) -> None:
    """Runs without a change that ever raise an alarm."""
    few = max(1, runs // 10)
    _row("calibrated on", "defects", "alpha", f"alarms in {runs} runs of {images} images", "share", "without ranks")
    _row(*("---",) * 6)
    for units, defects, chance in _UNCHANGED:
        parts = [(Production(defects=defects), images)]
        found = sum(alarm(seed, units, parts, chance) is not None for seed in range(runs))
        wrong = sum(alarm_without_ranks(seed, units, images, chance) is not None for seed in range(few))
        alone = "-" if defects else f"{100 * wrong / few:.1f} %"
        _row(units, f"{100 * defects:g} %", f"{100 * chance:g} %", found, f"{100 * found / runs:.2f} %", alone)


CHANGES = {
    "scores higher by 1 deviation": Production(1.0),
    "scores higher by 0.5": Production(0.5),
    "scores lower by 1": Production(-1.0),
    "spread twice as wide": Production(spread=2.0),
    "spread half as wide": Production(spread=0.5),
    "defects 30 %": Production(defects=0.3),
}


def _delays(runs: int) -> None:
    """Images from a change to the alarm."""
    after = 3000
    befores = (0, 500, 5000)
    where = ["from the first image" if not before else f"after {before:,}" for before in befores]
    _row(f"change ({runs} runs; median, nine tenths, never in {after:,})", "calibrated on", *where)
    _row(*("---",) * (2 + len(befores)))
    for name, change in CHANGES.items():
        for units in (40, 100, 400):
            cells = []
            for before in befores:
                found = [alarm(seed, units, [(Production(), before), (change, after)], 0.01) for seed in range(runs)]
                delays = [np.inf if one is None else one - before for one in found if one is None or one > before]
                middle, most = (np.quantile(delays, share, method="nearest") for share in (0.5, 0.9))
                cells.append(f"{middle:.0f}, {most:.0f}, {sum(one is None for one in found)}")
            _row(name, units, *cells)


if __name__ == "__main__":
    sys.exit(main())
