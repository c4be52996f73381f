"""`python -m anomalib_zsad.demo.measure_phantom_rates`: false alarms and uncertainty on phantoms.

New normal phantoms are drawn to calibrate on, other normal ones and ones with a lesion to judge.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from anomalib_zsad.calibration.conformal import NormalScores
from anomalib_zsad.calibration.uncertainty import Certainty, certainty
from anomalib_zsad.demo.measure_uncertainty import certainty_cells
from anomalib_zsad.demo.phantoms import Kind, make_phantom, write_nifti
from anomalib_zsad.outputs.terminal import console
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.volume_pass import cut_slices, pass_over
from anomalib_zsad.volumes.reading.nifti_reader import read_nifti

KINDS: dict[Kind, tuple[str, str]] = {"head_ct": ("CT", "brain"), "brain_mr": ("MR", "auto")}
# Seeds, far from those of the sample set.
_KNOWN, _NORMAL, _LESION = 1000, 2000, 3000


@dataclass(frozen=True)
class ScoredPhantom:
    """Answers for the slices of a phantom that are not blank, n of them.

    Attributes:
        score: The volume's score.
        scores: Shape (n,).
        deviations: Shape (n,).
        highest: Highest pixel of the map of all slices.
        lesion: Whether a slice shows a lesion, shape (n,).
    """

    score: float
    scores: NDArray[np.float32]
    deviations: NDArray[np.float32]
    highest: float
    lesion: NDArray[np.bool_]


@dataclass(frozen=True)
class Rates:
    """Shares of normal phantoms that are flagged at one false-alarm rate, and errors on slices of all by certainty."""

    volumes: float
    volumes_with_marked_pixel: float
    slices: float
    volumes_with_flagged_slice: float
    certainty: Certainty


def score_phantom(scorer: SliceScorer, kind: Kind, seed: int, *, lesion: bool) -> ScoredPhantom:
    """Score a new phantom as screening would."""
    phantom = make_phantom(kind, seed, lesion=lesion)
    modality, name = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = write_nifti(Path(folder) / "phantom.nii.gz", phantom.voxels, phantom.affine)
        volume = read_nifti(path, modality=modality)
    options = VolumeOptions(window=name)
    scores = pass_over(cut_slices(volume, options), scorer, options)
    seen = ~scores.blank
    marked: NDArray[np.bool_] = np.asarray(phantom.mask[:, :, scores.index[seen]].any(axis=(0, 1)))
    deviations = np.nan_to_num(scores.std[seen])
    return ScoredPhantom(scores.volume_score, scores.score[seen], deviations, scores.map_max, marked)


def rates_of(
    known: Sequence[ScoredPhantom], normal: Sequence[ScoredPhantom], abnormal: Sequence[ScoredPhantom], rate: float
) -> Rates:
    """Calibrate on known normal phantoms and judge others."""
    volume = NormalScores.of([[one.score] for one in known]).threshold(rate)
    mask = NormalScores.of([[one.highest] for one in known]).threshold(rate)
    each = NormalScores.of([one.scores.tolist() for one in known]).threshold(rate)
    judged = [*normal, *abnormal]
    return Rates(
        _share(one.score >= volume for one in normal),
        _share(one.highest >= mask for one in normal),
        _share(np.concatenate([one.scores >= each for one in normal])),
        _share(bool((one.scores >= each).any()) for one in normal),
        certainty(
            np.concatenate([one.scores for one in judged]),
            np.concatenate([one.deviations for one in judged]),
            np.concatenate([one.lesion for one in judged]),
            each,
        ),
    )


def _share(flags: Iterable[bool] | NDArray[np.bool_]) -> float:
    return float(np.mean(list(flags)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge both kinds of phantoms and print the table."""
    from anomalib_zsad.scoring.build import build_scorer

    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.measure_phantom_rates", description=__doc__)
    parser.add_argument("--model", choices=["BayesPFL", "CoPS"], default="BayesPFL")
    parser.add_argument("--checkpoint", type=Path, required=True, help="as `make demo` trains it")
    parser.add_argument("--known", type=int, default=40, help="normal phantoms to calibrate on, of each kind")
    parser.add_argument("--judged", type=int, default=20, help="normal phantoms to judge, and as many with a lesion")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1], help="false-alarm rates")
    options = parser.parse_args(arguments)
    scorer = build_scorer(options.checkpoint, class_name="brain")
    headings = ("phantoms", "rate", "volumes", "volumes with any marked pixel", "slices", "volumes with flagged slice")
    table = Table(*headings, "errors, certain", "errors, uncertain", "errors, nearest")
    for kind in KINDS:
        known, normal, abnormal = (
            [score_phantom(scorer, kind, first + index, lesion=lesion) for index in range(number)]
            for first, number, lesion in (
                (_KNOWN, options.known, False),
                (_NORMAL, options.judged, False),
                (_LESION, options.judged, True),
            )
        )
        for rate in options.rates:
            found = rates_of(known, normal, abnormal, rate)
            shares = (found.volumes, found.volumes_with_marked_pixel, found.slices, found.volumes_with_flagged_slice)
            cells = [f"{100 * share:.1f} %" for share in shares]
            table.add_row(kind, f"{100 * rate:g} %", *cells, *certainty_cells(found.certainty))
    console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
