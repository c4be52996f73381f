"""The promises of calibration, on many seeded repetitions, and where a promise would be false."""

import re

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from anomalib_zsad.calibration import TooFewNormalsError, benjamini_hochberg, normals_needed
from anomalib_zsad.calibration.conformal import NormalScores

REPETITIONS = 2000


def within(flags: list[bool] | np.ndarray, rate: float) -> bool:
    """Whether a measured rate is at most a promised one, by three standard errors."""
    return float(np.mean(flags)) <= rate + 3 * np.sqrt(rate * (1 - rate) / len(flags))


def patients(random: np.random.Generator, number: int, *, largest: int = 5, steps: int = 0) -> list[np.ndarray]:
    """Scores of several members of each patient, alike within a patient; the higher, the more members there are.

    With `steps` scores take that many values only, so that there are many ties.
    """
    own = random.normal(0, 1, number)
    counts = np.clip(np.round(1 + largest / 2 + own * largest / 3), 1, largest).astype(int)
    scores = [1 / (1 + np.exp(-(mean + random.normal(0, 0.3, count)))) for mean, count in zip(own, counts, strict=True)]
    return [np.round(unit * steps) / steps for unit in scores] if steps else scores


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize(("largest", "steps"), [(1, 0), (1, 6), (5, 0), (5, 6)])
def test_a_random_member_of_a_new_normal_unit_is_flagged_at_most_at_the_rate(
    rate: float, largest: int, steps: int
) -> None:
    random = np.random.default_rng(int(1000 * rate) + largest + 10 * steps)
    flags = []
    for _ in range(REPETITIONS):
        *normal, new = patients(random, 60, largest=largest, steps=steps)
        flags.append(bool(NormalScores.of(normal).p_values(random.choice(new)) <= rate))
    assert within(flags, rate)
    if not steps:
        assert np.mean(flags) > 0.4 * rate  # a test that flags nothing keeps every promise


def test_one_member_each_is_ordinary_split_conformal_prediction() -> None:
    random = np.random.default_rng(1)
    normal, new = random.random(49), random.random(200)
    expected = [(1 + (normal.astype(np.float32) >= np.float32(score)).sum()) / 50 for score in new]
    np.testing.assert_allclose(NormalScores.of([[score] for score in normal]).p_values(new), expected)


def test_members_count_by_their_share() -> None:
    scores = NormalScores.of([[0.5, 0.5, 0.9, 0.1], [0.2], [0.7, 0.3]])
    np.testing.assert_allclose(scores.p_values([0.95, 0.9, 0.5, 0.1, 0.0]), [1 / 4, 1.25 / 4, 2.25 / 4, 1, 1])


def test_slices_taken_for_patients_would_break_the_promise_and_are_not() -> None:
    """20 patients of 50 slices, alike in a patient: counted as 1000 units, 1 % would be promised and 4.5 % happen."""
    random = np.random.default_rng(2)
    pooled_flags = []
    for _ in range(REPETITIONS):
        means = random.normal(0, 1, 21)
        slices = means[:, None] + random.normal(0, 0.02, (21, 50))
        pooled = NormalScores.of([[score] for score in slices[:-1].ravel()])
        pooled_flags.append(bool(pooled.p_values(slices[-1, 0]) <= 0.01))
    assert np.mean(pooled_flags) == pytest.approx(0.045, abs=3 * (0.045 / REPETITIONS) ** 0.5)
    with pytest.raises(TooFewNormalsError, match="needs at least 99 normal units, and the calibration has 20"):
        NormalScores.of([list(own) for own in slices[:-1]]).threshold(0.01)


def test_a_rate_of_slices_is_none_of_volumes() -> None:
    """Many normal volumes have some flagged slice; the highest pixel of a volume is what keeps the rate for volumes."""
    random = np.random.default_rng(3)
    any_slice, any_pixel = [], []
    for _ in range(REPETITIONS):
        slices = random.random((41, 30))
        each = NormalScores.of([list(own) for own in slices[:-1]])
        whole = NormalScores.of([[own.max()] for own in slices[:-1]])
        any_slice.append(bool((slices[-1] >= each.threshold(0.05)).any()))
        any_pixel.append(bool(slices[-1].max() >= whole.threshold(0.05)))
    assert np.mean(any_slice) > 0.5
    assert within(any_pixel, 0.05)


@pytest.mark.parametrize("rate", [0.03, 0.05, 0.1, 1 / 3, 0.9])
@pytest.mark.parametrize("steps", [0, 5])
def test_the_threshold_flags_exactly_what_the_p_values_flag(rate: float, steps: int) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        normal = NormalScores.of(patients(random, 35, steps=steps))
        threshold = np.float32(normal.threshold(rate))
        near = [normal.values, np.nextafter(normal.values, np.float32(2)), np.nextafter(normal.values, np.float32(-1))]
        scores = np.concatenate([*near, [threshold, np.nextafter(threshold, np.float32(-1))], [0, 1]]).astype(
            np.float32
        )
        np.testing.assert_array_equal(scores >= threshold, normal.p_values(scores) <= rate)


def test_when_the_highest_normal_score_is_one_nothing_reaches_the_threshold() -> None:
    normal = NormalScores.of([[1.0]] * 30)
    assert normal.threshold(0.05) > 1
    assert normal.p_values(1.0) == 1


@pytest.mark.parametrize(("rate", "needed"), [(0.5, 1), (0.1, 9), (0.07, 14), (0.05, 19), (0.01, 99), (1 / 49, 48)])
def test_a_rate_needs_so_many_normals(rate: float, needed: int) -> None:
    assert normals_needed(rate) == needed
    enough = NormalScores.of([[place / 200] for place in range(needed)])
    assert enough.p_values(1.0) <= rate
    enough.threshold(rate)
    if needed > 1:
        with pytest.raises(TooFewNormalsError, match=f"needs at least {needed} normal units"):
            NormalScores.of([[place / 200] for place in range(needed - 1)]).threshold(rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_rates_that_are_none_are_errors(rate: float) -> None:
    with pytest.raises(ValueError, match="the false-alarm rate lies between 0 and 1"):
        normals_needed(rate)


@pytest.mark.parametrize("members", [[], [[0.5], []], [[float("nan")]], [[float("inf")]]])
def test_scores_that_are_none_are_errors(members: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"at least one|finite"):
        NormalScores.of(members)


def test_benjamini_hochberg_is_scipys() -> None:
    for seed in range(50):
        p_values = np.random.default_rng(seed).random(30) ** 2
        expected = false_discovery_control(p_values) <= 0.2
        np.testing.assert_array_equal(benjamini_hochberg(p_values, 0.2), expected)
    assert not benjamini_hochberg([], 0.1).size
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.04], 0.04).all()  # each at the border of what it may be


def test_benjamini_hochberg_controls_false_discoveries_of_independent_cases() -> None:
    """Conformal p-values of independent cases share their normals, which leaves them positively dependent."""
    random = np.random.default_rng(4)
    proportions, found = [], []
    for _ in range(1000):
        normal = NormalScores.of([[score] for score in random.normal(0, 1, 200)])
        cases = np.concatenate([random.normal(0, 1, 40), random.normal(4, 1, 10)])
        flags = benjamini_hochberg(normal.p_values(cases), 0.2)
        proportions.append(flags[:40].sum() / max(1, flags.sum()))
        found.append(flags[40:].mean())
    assert np.mean(proportions) <= 0.2 * 40 / 50 + 3 * np.std(proportions) / np.sqrt(len(proportions))
    assert np.mean(found) > 0.7


def test_the_lowest_rate_that_a_message_names_is_accepted() -> None:
    for units in range(1, 400):
        normal = NormalScores.of([[0.5]] * units)
        with pytest.raises(TooFewNormalsError) as error:
            normal.threshold(0.9 / (units + 1))
        named = re.search(r"the lowest rate is (\d\.\d{4})$", str(error.value))
        assert named is not None
        assert normal.p_values(normal.threshold(float(named[1]))) <= float(named[1])
        assert float(named[1]) - 1e-4 < 1 / (units + 1)


def test_a_score_that_is_no_number_has_no_p_value() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are not a number"):
        NormalScores.of([[0.1], [0.2]]).p_values([0.3, np.nan])


@pytest.mark.parametrize("units", range(1, 400))
def test_a_rate_that_is_given_exactly_is_met(units: int) -> None:
    """A p-value that equals the rate flags: of K normal scores k - 1 are as high, and the rate is k / (K + 1)."""
    normal = NormalScores.of([[place / 1000] for place in range(units)])
    for above in {1, 2, 3, units // 2 + 1, units} & set(range(1, units + 1)):
        rate = above / (units + 1)
        assert normals_needed(rate) <= units
        score = np.float32((units - above) / 1000 + 0.0005)  # as many normal scores, less one, are higher
        assert normal.p_values(score) == rate
        assert normal.threshold(rate) <= score
        assert benjamini_hochberg(normal.p_values([score]), rate).all()


def test_shares_of_members_add_up_exactly() -> None:
    """Three thirds are one, in whatever order: 1 + 2 x (1/3 + 1/3 + 1/3) of 10."""
    normal = NormalScores.of([[0.7, 0.8, 0.9]] * 2 + [[0.1]] * 7)
    assert normal.p_values(0.5) == 0.3
    assert normal.p_values(normal.threshold(0.3)) <= 0.3 <= normal.p_values(0.5)
    assert normal.threshold(0.3) <= 0.5
