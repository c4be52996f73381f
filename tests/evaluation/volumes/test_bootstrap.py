"""Resampling of patients: against a plain loop, and against the truth over many simulated sets."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from anomalib_zsad.evaluation.volumes.bootstrap import (
    RESAMPLES,
    Clusters,
    area_interval,
    draw_patients,
    resampled_areas,
    roc_band,
)


def clustered(random: np.random.Generator, patients: int = 12, members: int = 6) -> Clusters:
    """Patients with several members each, of one class or of both; scores with ties."""
    names, abnormal = [], []
    for patient in range(patients):
        names += [f"p{patient}"] * members
        abnormal += [bool(patient % 3 == 1 or (patient % 3 == 2 and number % 2)) for number in range(members)]
    scores = np.round(random.random(len(names)) + 0.3 * np.array(abnormal), 1)
    return Clusters.of(scores, np.array(abnormal), names)


def test_area_of_a_resample_is_that_of_the_members_drawn() -> None:
    clusters = clustered(np.random.default_rng(0))
    counts = draw_patients(clusters, 20, seed=3)
    for row, value in zip(counts, resampled_areas(clusters, counts), strict=True):
        times = row[clusters.patient]
        scores, truth = np.repeat(clusters.scores, times), np.repeat(clusters.abnormal, times)
        assert value == pytest.approx(roc_auc_score(truth, scores))


def test_strata_keep_their_number_of_patients_and_the_seed_decides() -> None:
    clusters = clustered(np.random.default_rng(1))
    counts = draw_patients(clusters)
    assert counts.shape == (RESAMPLES, 12)
    for stratum in range(3):
        members = [
            number for number, name in enumerate(sorted(f"p{i}" for i in range(12))) if int(name[1:]) % 3 == stratum
        ]
        assert (counts[:, members].sum(axis=1) == 4).all()
    np.testing.assert_array_equal(counts, draw_patients(clusters))
    assert (counts != draw_patients(clusters, seed=1)).any()
    assert area_interval(clusters) == area_interval(clusters)


def test_volumes_of_one_patient_are_drawn_together() -> None:
    """Eight copies of each patient's only volume tell nothing new: the interval must not shrink."""
    random = np.random.default_rng(2)
    scores, abnormal = random.random(30), np.arange(30) % 2 == 0
    names = [f"p{number}" for number in range(30)]
    once, _ = area_interval(Clusters.of(scores, abnormal, names))
    eight, _ = area_interval(Clusters.of(np.repeat(scores, 8), np.repeat(abnormal, 8), list(np.repeat(names, 8))))
    assert eight == pytest.approx(once)


@pytest.mark.parametrize("members", [1, 8])
def test_interval_covers_the_truth(members: int) -> None:
    """95 % intervals of 200 simulated sets hold the true area in about 95 % of them, also with alike slices."""
    random, patients, shift, covered, naive = np.random.default_rng(members), 40, 1.2, 0, 0
    abnormal = np.repeat(np.arange(patients) % 2 == 0, members)
    names = [f"{number:03}" for number in np.repeat(np.arange(patients), members)]
    truth = norm.cdf(shift / np.sqrt(2))
    for repetition in range(200):
        own = np.repeat(random.normal(0, np.sqrt(0.7), patients), members)
        scores = own + random.normal(0, np.sqrt(0.3), patients * members) + shift * abnormal
        for alone in (False, True):
            labels = [f"{number}" for number in range(len(names))] if alone else names
            clusters = Clusters.of(scores, abnormal, labels)
            if alone and members == 1:
                continue
            low, high = np.percentile(resampled_areas(clusters, draw_patients(clusters, 300, repetition)), (2.5, 97.5))
            covered += not alone and low <= truth <= high
            naive += alone and low <= truth <= high
    assert 0.89 <= covered / 200 <= 0.99
    if members > 1:
        assert naive / 200 < 0.75  # as if slices were independent: a false promise


def test_too_few_patients_have_no_interval() -> None:
    clusters = Clusters.of(np.arange(12.0), np.arange(12) < 4, [f"p{number}" for number in range(12)])
    interval, note = area_interval(clusters)
    assert interval is None
    assert "8 have normal ones and 4 have ones with a lesion; at least 5 of each are needed" in note


def test_interval_without_width_is_told() -> None:
    clusters = Clusters.of(np.arange(16.0), np.arange(16) >= 8, [f"p{number}" for number in range(16)])
    interval, note = area_interval(clusters)
    assert interval == (1.0, 1.0)
    assert note == (
        "8 patients in the smaller class: the interval is too narrow; every resample gives the same value: an interval "
        "without width is no certainty"
    )


def test_band_is_that_of_the_curves_of_the_resamples() -> None:
    clusters = clustered(np.random.default_rng(5))
    rates = np.linspace(0, 1, 11)
    low, high = roc_band(clusters, rates)
    curves = []
    for row in draw_patients(clusters)[:400]:
        times = row[clusters.patient]
        x, y, _ = roc_curve(
            np.repeat(clusters.abnormal, times), np.repeat(clusters.scores, times), drop_intermediate=False
        )
        curves.append([y[x <= rate + 1e-9].max() for rate in rates])
    expected = np.percentile(curves, (2.5, 97.5), axis=0)
    np.testing.assert_allclose([low, high], expected, atol=0.06)  # 400 of the 2,000 resamples
    assert (low <= high).all()
    assert low[-1] == high[-1] == 1.0
