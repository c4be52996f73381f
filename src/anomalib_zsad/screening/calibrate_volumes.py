"""Calibrate on normal volumes: what they score, on the path that screening scores them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from anomalib_zsad.calibration.calibration import MINIMUM_UNITS, Calibration
from anomalib_zsad.calibration.conformal import TooFewNormalsError
from anomalib_zsad.outputs.terminal import counted
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.normal_volumes import Normals, NormalVolume
from anomalib_zsad.screening.options import VolumeOptions, volume_fingerprint
from anomalib_zsad.screening.volume_pass import cut_slices, pass_over, population_of
from anomalib_zsad.volumes.faults import Finding
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.loading import MASK_REASON, images_of, is_mask
from anomalib_zsad.volumes.volume import Volume

_ALIKE = (
    "Slices, volumes and series of one patient are alike and cannot stand for other patients, so their number does not "
    "count: one patient with many slices calibrates nothing"
)


@dataclass(frozen=True)
class Measured:
    """What a volume scores.

    Attributes:
        volume: The volume's score.
        mask: Highest value of its map.
        slices: Scores of its slices but the blank ones; empty where all are.
        population: See `population_of`.
    """

    volume: float
    mask: float
    slices: tuple[float, ...]
    population: Mapping[str, str]


def measure(volume: Volume, scorer: SliceScorer, options: VolumeOptions, only: Mapping[str, str]) -> Measured:
    """Score a volume just as screening does, without writing anything.

    Raises:
        NotAmongError: If the volume is not of the kind that was asked for.
        SeriesRefusedError: If the plane cannot be cut from it.
        ValueError: If the scorer's answers are no scores.
    """
    stack = cut_slices(volume, options)
    population = population_of(stack)
    for name, value in only.items():
        if population[name] != value:
            raise NotAmongError(f"{name} is {population[name] or 'not known'}")
    scores = pass_over(stack, scorer, options)
    slices = tuple(scores.score[~scores.blank].tolist())
    return Measured(scores.volume_score, scores.map_max, slices, population)


class NotAmongError(Exception):
    """A volume is not of the kind that was asked for."""


def calibrate_volumes(
    normals: Normals,
    scorer: SliceScorer,
    options: VolumeOptions,
    reading: ReadingOptions,
    *,
    only: Mapping[str, str] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Calibrate on volumes of normal patients.

    Args:
        normals: The volumes; `left_out` grows by what cannot be used.
        scorer: The model.
        options: How volumes are screened.
        reading: How they are read.
        only: What the volumes must be (`modality`, `window`, `plane`); others are left out.
        advance: Called after each volume.

    Raises:
        TooFewNormalsError: If there are not enough patients; says how many there are and are needed, and why.
        ValueError: If the volumes are of several kinds.
    """
    _check_number(normals, normals.patients, len(normals.volumes))
    scoring = _Scoring(normals, scorer, options, only or {})
    for normal in normals.volumes:
        scoring.add(normal)
        advance()
    patients = list(scoring.measured.values())
    volumes = [volume for own in patients for volume in own]
    _check_number(normals, len(patients), len(volumes))
    population = _common_population(volumes)
    scores = {
        "volume": tuple(tuple(volume.volume for volume in own) for own in patients),
        "slice": tuple(tuple(score for volume in own for score in volume.slices) for own in patients),
        "mask": tuple(tuple(volume.mask for volume in own) for own in patients),
    }
    fingerprint = volume_fingerprint(scorer.describe(), options, reading.mode)
    return Calibration("volumes", scores, fingerprint, population, dict(normals.left_out), tuple(scoring.cases))


@dataclass
class _Scoring:
    """Scores of the volumes so far, by patient, and the pseudonyms of their images."""

    normals: Normals
    scorer: SliceScorer
    options: VolumeOptions
    only: Mapping[str, str]
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    cases: set[str] = field(default_factory=set)

    def add(self, normal: NormalVolume) -> None:
        """Score one more volume, or leave it out."""
        failure = guarded(lambda: self._use(normal))
        if isinstance(failure, Finding):
            self.normals.leave_out(normal.name, failure.fault.code, failure.message)

    def _use(self, normal: NormalVolume) -> None:
        volume = normal.read()
        images = normal.images or images_of(volume)
        if is_mask(volume):
            self.normals.leave_out(normal.name, "not-an-image", MASK_REASON)
        elif images in self.cases:
            self.normals.leave_out(normal.name, "the same images as another")
        elif normal.shows_lesion is not None and normal.shows_lesion(volume):
            self.normals.leave_out(normal.name, "its mask marks a lesion")
        else:
            self._measure(normal, volume, images)

    def _measure(self, normal: NormalVolume, volume: Volume, images: str) -> None:
        try:
            measured = measure(volume, self.scorer, self.options, self.only)
        except NotAmongError as error:
            self.normals.leave_out(normal.name, str(error))
            return
        if not measured.slices:
            self.normals.leave_out(normal.name, "all slices are blank in this window")
            return
        self.cases.add(images)
        self.measured.setdefault(normal.patient, []).append(measured)


def _check_number(normals: Normals, patients: int, volumes: int) -> None:
    if patients >= MINIMUM_UNITS:
        return
    reasons = "; ".join(f"{reason}: {number}" for reason, number in normals.left_out.items())
    raise TooFewNormalsError(
        f"{counted(volumes, 'volume')} of {counted(patients, 'normal patient')} cannot calibrate; "
        f"at least {MINIMUM_UNITS} patients are needed. {_ALIKE}." + (f" Left out: {reasons}." if reasons else "")
    )


def _common_population(volumes: Sequence[Measured]) -> dict[str, dict[str, int]]:
    """What all volumes have in common.

    Raises:
        ValueError: If they differ: the p-values would be those of a mixture.
    """
    names = list(volumes[0].population)
    population = {name: dict(Counter(volume.population[name] for volume in volumes)) for name in names}
    for name, values in population.items():
        if len(values) > 1:
            listed = ", ".join(f"{value or 'not known'}: {number}" for value, number in values.items())
            common = max(values, key=lambda value: values[value])
            raise ValueError(
                f"the volumes differ in {name} ({listed}), and are judged by their like only; calibrate each kind by "
                f"itself, such as with --only {name}={common}"
            )
    return population
