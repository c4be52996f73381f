"""Differences of two models' areas, against loops and against the slower computation."""

import numpy as np
import pytest
from scipy.stats import norm

from anomalib_zsad.evaluation.paired_areas import compare_areas, difference_p_value, weighted_areas
from anomalib_zsad.evaluation.volumes.bootstrap import Clusters, draw_patients, resampled_areas


def two_models(units: int, members: int, seed: int = 0) -> tuple[Clusters, Clusters]:
    """Scores of two models on the same members, alike within a unit; the second model is better."""
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units), members)
    abnormal = random.random(units * members) < 0.4
    shared = random.normal(size=units)[unit] + random.normal(size=len(unit))
    scores = [np.round(shared + gain * abnormal + random.normal(size=len(unit)), 1) for gain in (0.5, 1.5)]
    return tuple(Clusters.of(one, abnormal, [f"p{number:03}" for number in unit]) for one in scores)  # type: ignore[return-value]


@pytest.mark.parametrize("members", [1, 4])
def test_areas_of_resamples_are_those_of_all_pairs(members: int) -> None:
    clusters, _ = two_models(30, members)
    counts = draw_patients(clusters, 50)
    np.testing.assert_allclose(weighted_areas(clusters, counts), resampled_areas(clusters, counts))


def test_p_value_is_delongs_where_units_have_one_member() -> None:
    first, second = two_models(60, 1)
    assert difference_p_value(first, second) == pytest.approx(delong(first, second))


def delong(first: Clusters, second: Clusters) -> float:
    """As the paper writes it, with loops over all pairs."""
    shares = []
    for one in (first, second):
        positive, negative = one.scores[one.abnormal], one.scores[~one.abnormal]
        shares.append([[(x > y) + 0.5 * (x == y) for y in negative] for x in positive])
    pairs = np.array(shares, float)
    by_positive, by_negative = np.cov(pairs.mean(axis=2)), np.cov(pairs.mean(axis=1))
    covariance = by_positive / pairs.shape[1] + by_negative / pairs.shape[2]
    contrast = np.array([-1, 1])
    difference = float(contrast @ pairs.mean(axis=(1, 2)))
    return float(2 * norm.sf(abs(difference) / np.sqrt(contrast @ covariance @ contrast)))


def test_p_values_of_equal_models_are_uniform_even_where_units_have_many_members() -> None:
    """Two draws of one model: five in a hundred p-values lie below 0.05; as if independent, many more would."""
    low = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        unit = np.repeat(np.arange(40), 6)
        abnormal = (np.arange(40) < 20)[unit]
        scores = [(random.normal(size=40) * 2)[unit] + random.normal(size=240) + abnormal for _ in (0, 1)]
        pair = [Clusters.of(one, abnormal, [str(number) for number in unit]) for one in scores]
        low += (difference_p_value(*pair) or 0) < 0.05
    assert 2 <= low <= 20


def test_the_interval_holds_a_clear_difference_and_not_zero() -> None:
    first, second = two_models(80, 3)
    found, resampled = compare_areas(first, second)
    assert found.low is not None
    assert found.high is not None
    assert resampled is not None
    assert 0 < found.low < found.difference < found.high
    assert found.p_value is not None
    assert found.p_value < 0.01
    assert found.units == 80


def test_a_model_and_itself_do_not_differ() -> None:
    first, _ = two_models(40, 1)
    found, _ = compare_areas(first, first)
    assert (found.low, found.high, found.p_value) == (0, 0, 1)


def test_few_units_and_other_images_have_no_interval() -> None:
    first, second = two_models(8, 1, seed=3)
    assert compare_areas(first, second)[0].note.startswith("no interval:")
    assert "not the same images" in compare_areas(first, two_models(9, 1)[1])[0].note
