"""FROC: by hand, against MONAI's evaluation of CAMELYON16, and against maps that try to cheat."""

import numpy as np
import pytest
from monai.metrics.froc import compute_fp_tp_probs_nd, compute_froc_curve_data
from scipy import ndimage

from anomalib_zsad.evaluation.volumes.candidates import find_candidates
from anomalib_zsad.evaluation.volumes.froc import RATES, froc_curve
from anomalib_zsad.evaluation.volumes.lesions import match_lesions
from tests.evaluation.volumes.volume_samples import simulated_set


def test_curve_by_hand() -> None:
    """Two volumes, three lesions of which one is never found; false marks at 0.9, 0.6 and 0.6."""
    curve = froc_curve(np.array([0.8, 0.5, np.nan]), np.array([0.9, 0.6, 0.6]), volumes=2)
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 0.9, 0.8, 0.6, 0.5])
    np.testing.assert_array_equal(curve.false_positives, [0, 0.5, 0.5, 1.5, 1.5])
    np.testing.assert_array_equal(curve.found, [0, 0, 1, 1, 2])
    # Nothing below 1/2 a volume but the empty point; at 1/2 and 1 one of three, from 2 on two of three.
    expected = [0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3]
    np.testing.assert_allclose([curve.sensitivity[curve.place(rate)] for rate in RATES], expected)
    assert curve.mean_sensitivity == pytest.approx(np.mean(expected))


def test_marks_and_curve_are_those_of_monai() -> None:
    volumes = simulated_set(8, 3)
    wrong, right = [], []
    for record in volumes.records:
        mask = np.zeros((24, 24, 8), bool)
        if record.abnormal:
            mask[4:8, 4:8, 2:4] = mask[14:21, 14:21, 3:6] = True
        labels = ndimage.label(mask.T, np.ones((3, 3, 3)))[0].T
        false_scores, hit_scores, targets = compute_fp_tp_probs_nd(
            record.candidates.scores, record.candidates.voxels, labels
        )
        np.testing.assert_array_equal(np.sort(false_scores), np.sort(record.candidates.scores[record.hits == 0]))
        np.testing.assert_array_equal(hit_scores, np.nan_to_num(record.lesions.scores))
        assert targets == len(record.lesions)
        wrong.append(false_scores)
        right.append(hit_scores)
    false_scores, hit_scores = np.concatenate(wrong), np.concatenate(right)
    rates, shares = compute_froc_curve_data(false_scores, hit_scores, len(hit_scores), len(volumes.records))
    curve = volumes.froc
    # MONAI leaves the lowest score out, which is the 0 of a lesion that is never found, and puts the empty point last.
    count = len(rates)
    np.testing.assert_allclose(curve.false_positives[:count], rates[::-1])
    np.testing.assert_allclose(curve.sensitivity[:count], shares[::-1])


def test_map_that_floods_the_volume_finds_nothing() -> None:
    mask = np.zeros((20, 20, 10), bool)
    mask[2:5, 2:5, 2:5] = mask[12:15, 12:15, 2:5] = True
    for value in (0.3, 1.0):
        heat = np.full(mask.shape, value, np.float32, order="F")
        candidates = find_candidates(heat)
        lesions, hits = match_lesions(mask, heat, candidates)
        assert len(candidates.scores) == 1
        assert hits.tolist() == [0]
        assert np.isnan(lesions.scores).all()


def test_curve_ends_where_lists_of_candidates_were_cut() -> None:
    curve = froc_curve(np.array([0.9, 0.2]), np.array([0.8, 0.7, 0.3]), volumes=1, lowest=0.5)
    assert not curve.complete
    assert curve.thresholds[-1] == 0.7
    assert curve.reaches(1)
    assert not curve.reaches(2)
    assert curve.mean_sensitivity is None


def test_no_lesion_and_no_candidate() -> None:
    assert froc_curve(np.zeros(0), np.array([0.5]), volumes=3).mean_sensitivity is None
    curve = froc_curve(np.array([np.nan]), np.zeros(0), volumes=3)
    assert curve.mean_sensitivity == 0.0
