"""Drift: p-values that are uniform, bets that cannot be expected to win, the false-alarm bound, and what is noticed."""

import json

import numpy as np
import pytest
from scipy import stats

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.betting import (
    P_VALUE_KINDS,
    SHARE_KINDS,
    Bets,
    p_value_factors,
    share_factors,
)
from anomalib_zsad.calibration.drift import DriftOptions, DriftTest
from anomalib_zsad.calibration.figures import Figures, Spread
from anomalib_zsad.calibration.ranks import Ranks
from tests.calibration.calibrations import of_volumes


def scores(random: np.random.Generator, count: int, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    """Scores in [0, 1] of so many images."""
    return 1 / (1 + np.exp(3 - shift - spread * random.normal(size=count)))


def calibration(random: np.random.Generator, units: int = 100) -> Calibration:
    return Calibration("images", {"image": tuple((float(score),) for score in scores(random, units))}, {})


def alarm_at(seed: int, units: int, after: np.ndarray | None, before: int = 0, **options: float) -> int | None:
    """At which image the alarm is raised: so many like those calibrated on, then others."""
    random = np.random.default_rng(seed)
    test = DriftTest(calibration(random, units), 0.05, DriftOptions(**options))
    for score in [*scores(random, before), *(() if after is None else after)]:
        if test.add(float(score)):
            return test.images
    return None


# The pieces ---------------------------------------------------------------------------------------------------------


def test_sequential_p_values_are_independent_and_uniform_ties_included() -> None:
    random = np.random.default_rng(0)
    p_values = []
    for _ in range(300):
        drawn = random.integers(0, 8, 70) / 8  # many ties
        ranks = Ranks(drawn[:30])
        p_values.append([ranks.add(float(score)) for score in drawn[30:]])
    table = np.array(p_values)
    assert stats.kstest(table.ravel(), "uniform").pvalue > 0.01
    neighbours = np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 3 / np.sqrt(table.size)


def test_a_p_value_is_the_share_of_earlier_scores_above() -> None:
    ranks = Ranks([0.1, 0.2, 0.3, 0.4])
    assert 2 / 5 <= ranks.add(0.25) < 3 / 5
    assert 0 <= ranks.add(0.9) < 1 / 6
    assert 6 / 7 <= ranks.add(0.01) < 1
    assert ranks.count == 7
    assert Ranks([-0.5, 0.5]).add(-0.9) >= 2 / 3  # scores of a scale of their own


def test_ranks_take_bounded_memory() -> None:
    ranks = Ranks()
    for score in scores(np.random.default_rng(0), 30_000):
        ranks.add(float(score))
    assert ranks.count == 30_000
    assert len(ranks._values) < 25_000
    distinct = len(np.unique(scores(np.random.default_rng(0), 30_000).astype(np.float32)))
    assert len(ranks._values) < 0.9 * distinct


def test_the_factors_are_densities_and_likelihood_ratios() -> None:
    middle = (np.arange(10_000) + 0.5) / 10_000
    means = np.mean([p_value_factors(float(p_value)) for p_value in middle], axis=0)
    np.testing.assert_allclose(means, 1, atol=1e-6)
    assert min(min(p_value_factors(p_value)) for p_value in (0.0, 0.2, 0.5, 1.0)) > 0
    assert len(p_value_factors(0.5)) == P_VALUE_KINDS
    for share in (0.06, 0.2, 0.9):
        yes, no = (np.array(share_factors(happened=happened, share=share)) for happened in (True, False))
        np.testing.assert_allclose(share * yes + (1 - share) * no, 1)
        assert np.all(0.5 * share * yes + (1 - 0.5 * share) * no < 1)  # a rarer event is a bet that loses
        assert len(yes) == SHARE_KINDS


def test_bets_that_never_win_or_lose_keep_the_whole_capital() -> None:
    bets = Bets(3)
    for _ in range(1000):
        bets.play([1.0] * 3)
        assert bets.total == pytest.approx(1)
    assert 0 < sum(bets.capital) < 1


def test_a_change_is_told_to_have_begun_about_when_it_did() -> None:
    bets, random = Bets(P_VALUE_KINDS), np.random.default_rng(0)
    for p_value in [*random.random(500), *random.random(60) / 4]:
        bets.play(p_value_factors(float(p_value)))
    assert bets.total > 100
    assert abs(bets.began - 500) < 30


# The test -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "spread", "within"), [(1.0, 1.0, 150), (-1.0, 1.0, 120), (0.0, 2.0, 400), (0.0, 0.4, 150)]
)
def test_scores_that_move_or_spread_are_noticed(shift: float, spread: float, within: int) -> None:
    changed = scores(np.random.default_rng(9), 1000, shift, spread)
    for seed in range(5):
        found = alarm_at(seed, 100, changed, before=300)
        assert found is not None
        assert 300 < found <= 300 + within


def test_a_change_long_after_the_beginning_is_noticed_as_well() -> None:
    found = alarm_at(0, 100, scores(np.random.default_rng(9), 500, 1.0), before=5000)
    assert found is not None
    assert 5000 < found < 5300


def test_found_defects_are_no_drift_and_a_rising_share_of_them_is() -> None:
    random = np.random.default_rng(3)
    test = DriftTest(calibration(random, 200), 0.05, DriftOptions())

    def produce(count: int, defects: float) -> None:
        for score in scores(random, count):
            test.add(0.99 if random.random() < defects else float(score))

    produce(1500, 0.05)
    assert test.alarm is None
    assert test.flagged > 60
    produce(200, 0.5)
    assert test.alarm is not None
    assert test.alarm.by == "flags"
    assert 1500 < test.alarm.image < 1600
    assert abs(test.alarm.began - 1500) < 30


def test_an_alarm_stays_and_tells_what_raised_it() -> None:
    test = DriftTest(calibration(np.random.default_rng(0)), 0.05)
    raised = [test.add(0.01) for _ in range(60)]  # as if the lens were covered
    assert raised.count(True) == 1
    assert test.alarm is not None
    assert test.alarm.by == "scores"
    assert test.alarm.image == raised.index(True) + 1
    before = test.alarm
    assert not any(test.add(float(score)) for score in scores(np.random.default_rng(1), 200))
    assert test.alarm == before


def test_the_same_images_give_the_same_evidence_also_after_a_restart() -> None:
    drawn = scores(np.random.default_rng(5), 300, 0.5)
    made = calibration(np.random.default_rng(0))
    whole, first = DriftTest(made, 0.05), DriftTest(made, 0.05)
    for score in drawn:
        whole.add(float(score))
    for score in drawn[:120]:
        first.add(float(score))
    second = DriftTest(made, 0.05).restore(json.loads(json.dumps(first.state())))
    for score in drawn[120:]:
        second.add(float(score))
    assert second.evidence == whole.evidence
    assert second.alarm == whole.alarm
    assert second.state() == whole.state()


def test_what_makes_no_sense_is_refused() -> None:
    made = calibration(np.random.default_rng(0))
    with pytest.raises(ValueError, match="chance of a false drift alarm lies between 0 and 1, not 0"):
        DriftOptions(drift_chance=0.0)
    with pytest.raises(ValueError, match="expected share of flagged images is between 0 and 1, not 1"):
        DriftOptions(expected_flagged=1.0)
    with pytest.raises(ValueError, match=r"of normal images 0\.05 may be flagged, .* more than that, not 0\.04"):
        DriftTest(made, 0.05, DriftOptions(expected_flagged=0.04))
    with pytest.raises(ValueError, match="the calibration is one of volumes"):
        DriftTest(of_volumes(), 0.05)
    with pytest.raises(ValueError, match="a score of nan says nothing"):
        DriftTest(made, 0.05).add(float("nan"))
    same = Calibration("images", {"image": ((0.5,),) * 40}, {})
    with pytest.raises(ValueError, match=r"0 scores of the calibration lie below .* whose scores differ"):
        DriftTest(same, 0.05)
    assert DriftOptions().share(0.05) == pytest.approx(0.2)
    assert 0.6 < DriftOptions().share(0.6) < 1


@pytest.mark.slow
def test_false_alarms_over_two_thousand_runs_keep_to_their_bound() -> None:
    """At most 5 % of runs of 1,000 images ever raise an alarm; 2,000 runs can tell that to about one per cent."""
    alarms = sum(alarm_at(seed, 60, None, before=1000, drift_chance=0.05) is not None for seed in range(2000))
    assert alarms <= stats.binom.ppf(0.999, 2000, 0.05)


# What changed -------------------------------------------------------------------------------------------------------


def test_figures_are_compared_with_the_calibrations_or_with_the_first_ones() -> None:
    figures = Figures({"brightness": Spread(0.5, 0.02)})
    for number in range(120):
        figures.add({"brightness": 0.5 if number < 60 else 0.4, "sharpness": 2.0 + number % 2 if number < 60 else 1.0})
    brightness, sharpness = figures.changes()
    assert (brightness.figure, brightness.reference_of) == ("brightness", "calibration")
    assert brightness.recent == pytest.approx(0.4)
    assert brightness.deviations == pytest.approx(-5)
    assert (sharpness.figure, sharpness.reference_of) == ("sharpness", "first images")
    assert sharpness.reference == pytest.approx(2.5)
    assert sharpness.deviations == pytest.approx(-3)
    again = Figures({"brightness": Spread(0.5, 0.02)}).restore(json.loads(json.dumps(figures.state())))
    assert again.changes() == figures.changes()
    assert Figures({}).changes() == ()
    constant = Figures({})
    constant.add({"score": 0.5})
    assert constant.changes()[0].deviations is None


def test_a_calibration_keeps_how_its_images_looked_and_older_ones_have_nothing(tmp_path) -> None:
    made = calibration(np.random.default_rng(0))
    looks = Calibration("images", made.scores, {}, figures={"brightness": (0.5, 0.01), "sharpness": (0.02, 0.003)})
    looks.save(tmp_path / "new.json")
    made.save(tmp_path / "old.json")
    assert Calibration.load(tmp_path / "new.json").figures == looks.figures
    assert Calibration.load(tmp_path / "old.json").figures == {}
    assert "figures" not in json.loads((tmp_path / "old.json").read_text())
    assert looks.sha256 != made.sha256
    with pytest.raises(ValueError, match="figures of a calibration are finite numbers"):
        Calibration("images", made.scores, {}, figures={"brightness": (float("nan"), 0.0)})
