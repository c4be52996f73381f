"""`Calibration`: scores of normal units with what made them, and the file that keeps them."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_zsad.calibration.conformal import NormalScores, TooFewNormalsError, check_rate
from anomalib_zsad.calibration.fingerprint import check_fingerprint, flatten
from anomalib_zsad.outputs.atomic import write_text

Kind = Literal["volumes", "images"]
LEVELS: dict[str, tuple[str, ...]] = {"volumes": ("volume", "slice", "mask"), "images": ("image", "mask")}
MINIMUM_UNITS = 20

_FORMAT = 1
_LARGEST_FILE = 64 << 20  # a million images, or two thousand patients of a thousand slices
_PROGRAM = "anomalib-zsad calibration"


class CalibrationFileError(ValueError):
    """A file is no calibration, or a damaged one."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of normal cases, against which new scores are judged.

    Attributes:
        kind: `volumes` (units are patients) or `images` (units are images, or the groups that images come in).
        scores: For each level, for each unit, the scores of its members, on the model's scale. Levels are `volume`,
            `slice` and `mask` of volumes, `image` and `mask` of images; `mask` is the highest pixel of the map of a
            whole volume or image, and images of a model without maps lack it.
        fingerprint: What decided the scores, by name: see `anomalib_zsad.calibration.fingerprint`.
        population: What else is known of the normal cases, such as `modality` and `window` of volumes: for each name
            how many members have which value.
        left_out: Why how many series or images were not used.
        cases: Pseudonyms of the volumes (hashes of their instances), so that they are known when they are screened.
        figures: How the images looked: mean and standard deviation of `brightness` and `sharpness`
            (`anomalib_zsad.data.appearance`); empty of volumes, and of calibrations that earlier versions made.

    Raises:
        TooFewNormalsError: If there are fewer than `MINIMUM_UNITS` units.
        ValueError: If levels, units or scores make no sense.
    """

    kind: Kind
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
    fingerprint: Mapping[str, Any]
    population: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in LEVELS:
            raise ValueError(f"a calibration is of volumes or images, not {self.kind!r}")
        without_maps = self.kind == "images" and tuple(self.scores) == ("image",)
        if tuple(sorted(self.scores)) != tuple(sorted(LEVELS[self.kind])) and not without_maps:
            raise ValueError(f"a calibration of {self.kind} has scores of {', '.join(LEVELS[self.kind])}")
        numbers = {len(units) for units in self.scores.values()}
        if len(numbers) != 1:
            raise ValueError(f"the levels of a calibration have different numbers of units: {sorted(numbers)}")
        if self.units < MINIMUM_UNITS:
            raise TooFewNormalsError(
                f"{self.units} normal {self.unit_name}{'s' * (self.units != 1)} cannot calibrate; at least "
                f"{MINIMUM_UNITS} are needed"
            )
        for level in self.scores:
            self._normal(level)
        if not all(math.isfinite(number) for pair in self.figures.values() for number in pair):
            raise ValueError(f"the figures of a calibration are finite numbers, not {dict(self.figures)}")
        object.__setattr__(self, "fingerprint", flatten(self.fingerprint))

    @property
    def units(self) -> int:
        """Number of units that can be exchanged with a new case: patients, or images."""
        return len(next(iter(self.scores.values())))

    @property
    def unit_name(self) -> str:
        """What a unit is: patient or image; images that come in groups are those of patients."""
        return "patient" if self.kind == "volumes" or self._grouped else "image"

    @property
    def _grouped(self) -> bool:
        """Whether a unit has several members."""
        return any(len(unit) > 1 for unit in self.scores[self.levels[0]])

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that scores can be judged at."""
        return tuple(level for level in LEVELS[self.kind] if level in self.scores)

    @cached_property
    def sha256(self) -> str:
        """Hash of everything in the calibration, hexadecimal: what a report and a resumed run know it by."""
        return _digest(self._content())

    @cached_property
    def _arranged(self) -> dict[str, NormalScores]:
        return {}

    def _normal(self, level: str) -> NormalScores:
        if level not in self.scores:
            raise ValueError(f"a calibration of {self.kind} has the levels {', '.join(self.levels)}, not {level!r}")
        if level not in self._arranged:
            self._arranged[level] = NormalScores.of(self.scores[level])
        return self._arranged[level]

    def p_values(self, level: str, scores: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values, of the shape of `scores`; see `NormalScores.p_values` for what they promise.

        Args:
            level: One of `levels`.
            scores: Scores of that level.

        Raises:
            ValueError: If there is no such level.
        """
        return self._normal(level).p_values(scores)

    def threshold(self, level: str, rate: float) -> float:
        """The lowest score that is flagged: score >= threshold exactly where the p-value is at most `rate`.

        A score that is not flagged can be 1; the threshold is then the next number above 1, which no score reaches.

        Raises:
            ValueError: If there is no such level, or the rate is not between 0 and 1.
            TooFewNormalsError: If the rate needs more normal units; says how many.
        """
        return self._normal(level).threshold(rate)

    def check(self, fingerprint: Mapping[str, Any]) -> None:
        """Make sure that the calibration was made with the model and the settings at hand.

        Raises:
            CalibrationMismatchError: If not; names each field with both values, and says what to do.
        """
        check_fingerprint(self.fingerprint, flatten(fingerprint))

    def unlike(self, **values: str) -> str:
        """Why a case is unlike all that were calibrated on; empty if it is not.

        Args:
            values: What the case is by the names of `population`, such as `modality="CT"`.
        """
        reasons = [
            f"its {name} is {value or 'not known'}, and those calibrated on have "
            f"{', '.join(known or 'none known' for known in self.population[name])}"
            for name, value in values.items()
            if name in self.population and value not in self.population[name]
        ]
        return "; ".join(reasons)

    def statement(self, level: str, rate: float) -> str:
        """What the threshold of a level promises at a rate, in plain words.

        Raises:
            ValueError: If there is no such level, or the rate is not between 0 and 1.
        """
        self._normal(level)
        percent = f"{100 * check_rate(rate):g} %"
        statements = _OF_PATIENTS if self.kind == "images" and self._grouped else _STATEMENTS
        return statements[self.kind, level].format(percent=percent, units=self.units)

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the calibration as JSON; the file appears whole or not at all.

        Raises:
            FileExistsError: If there is a file, and it may not be replaced.
            OSError: If it cannot be written.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists already; give another name, or say that it may be overwritten")
        write_text(target, json.dumps(self.record(), indent=1, allow_nan=False) + "\n")

    def record(self) -> dict[str, Any]:
        """What the file says, in JSON's types; `from_record` reads it."""
        return {"format": _FORMAT, "program": _PROGRAM, **self._content(), "sha256": self.sha256}

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Read a calibration.

        Raises:
            FileNotFoundError: If there is no such file.
            CalibrationFileError: If it is no calibration, a damaged one, or one of a later version.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no calibration at {path}; `anomalib-zsad calibrate` makes one")
        if path.stat().st_size > _LARGEST_FILE:
            _unusable(path, f"it has {path.stat().st_size:,} bytes, and at most {_LARGEST_FILE:,} are read")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError) as error:
            _unusable(path, f"it cannot be read as JSON ({type(error).__name__})", error)
        return cls.from_record(record, path)

    @classmethod
    def from_record(cls, record: Any, path: Path) -> "Calibration":
        """A calibration of what its file says; `path` is named where it cannot be used.

        Raises:
            CalibrationFileError: If it is no calibration, a damaged one, or one of a later version.
        """
        if not isinstance(record, dict) or record.get("program") != _PROGRAM:
            _unusable(path, "it is another kind of file")
        if record.get("format") != _FORMAT:
            _unusable(path, f"its format is {record.get('format')!r}, and this version reads {_FORMAT}")
        try:
            made = cls._from(record)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            _unusable(path, f"it is damaged ({error})", error)
        if record.get("units") != made.units or record.get("sha256") != made.sha256:
            _unusable(path, "it is damaged or was edited: its content does not fit its checksum")
        return made

    @classmethod
    def _from(cls, record: Mapping[str, Any]) -> "Calibration":
        scores = {
            str(level): tuple(tuple(float(score) for score in unit) for unit in units)
            for level, units in record["scores"].items()
        }
        return cls(
            record["kind"],
            scores,
            record["fingerprint"],
            record["population"],
            record["left_out"],
            tuple(record["cases"]),
            {
                str(name): (float(mean), float(deviation))
                for name, (mean, deviation) in record.get("figures", {}).items()
            },
        )

    def _content(self) -> dict[str, Any]:
        """What the file says, beside its format; no names, no identifiers, and no order that could tell of any."""
        volumes = self.levels[0]
        order = sorted(range(self.units), key=lambda unit: _shortest(self.scores[volumes][unit])[::-1])
        return {
            "kind": self.kind,
            "units": self.units,
            "fingerprint": dict(self.fingerprint),
            "population": {name: dict(values) for name, values in self.population.items()},
            "left_out": dict(self.left_out),
            "cases": sorted(self.cases),
            # Only where there are any: the checksum of older files was made without.
            **({"figures": {name: list(pair) for name, pair in self.figures.items()}} if self.figures else {}),
            "scores": {level: [_shortest(self.scores[level][unit]) for unit in order] for level in self.levels},
        }


_STATEMENTS = {
    ("volumes", "volume"): (
        "Of normal patients like the {units} calibrated on, at most {percent} are expected to have a volume's score "
        "flagged (a random volume of a new patient; on average over calibrations)."
    ),
    ("volumes", "slice"): (
        "Of the slices of normal patients like the {units} calibrated on, at most {percent} are expected to be flagged "
        "(a random slice of a new patient; on average over calibrations). A volume has many slices: this says nothing "
        "about how many normal volumes have a flagged slice."
    ),
    ("volumes", "mask"): (
        "Of normal patients like the {units} calibrated on, at most {percent} are expected to show any lesion pixel at "
        "all (a random volume of a new patient; on average over calibrations)."
    ),
    ("images", "image"): (
        "Of normal images like the {units} calibrated on, at most {percent} are expected to be flagged (on average "
        "over calibrations)."
    ),
    ("images", "mask"): (
        "Of normal images like the {units} calibrated on, at most {percent} are expected to show any abnormal pixel at "
        "all (on average over calibrations)."
    ),
}

# Of images of which several may be one patient's.
_OF_PATIENTS = {
    ("images", "image"): (
        "Of images of normal patients like the {units} calibrated on, at most {percent} are expected to be flagged (a "
        "random image of a new patient; on average over calibrations)."
    ),
    ("images", "mask"): (
        "Of images of normal patients like the {units} calibrated on, at most {percent} are expected to show any "
        "abnormal pixel at all (a random image of a new patient; on average over calibrations)."
    ),
}


def _shortest(scores: Sequence[float]) -> list[float]:
    """Scores in ascending order, with the digits that float32 needs."""
    return [float(str(score)) for score in np.sort(np.asarray(scores, np.float32))]


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _unusable(path: Path, reason: str, error: Exception | None = None) -> NoReturn:
    """Refuse a file.

    Raises:
        CalibrationFileError: Always.
    """
    raise CalibrationFileError(
        f"{path} is no calibration that can be used: {reason}. `anomalib-zsad calibrate` makes one."
    ) from error
