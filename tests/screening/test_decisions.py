"""From scores of a volume to decisions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anomalib_zsad.calibration import Calibration, TooFewNormalsError
from anomalib_zsad.records.slice_rows import SliceRow
from anomalib_zsad.screening.decisions import DecisionRule, Thresholds
from tests.calibration.calibrations import of_images, of_volumes

ROW = SliceRow(0, "", None, *[None] * 3, 0.0, None, 0.0, *[None] * 6, 0, None, False, False, None, "normal")


def rows(scores: list[float], deviation: float | None = None, blank: int = 0) -> list[SliceRow]:
    """Slices with scores, and so many blank ones behind them."""
    scored = [
        replace(ROW, slice=index, score=float(np.float32(score)), score_std=deviation)
        for index, score in enumerate(scores)
    ]
    return scored + [replace(ROW, slice=len(scored) + index, blank=True, decision="blank") for index in range(blank)]


def evenly(units: int) -> Calibration:
    """One member each, at 1/(units + 1), 2/(units + 1), and so on."""
    scores = tuple((float(np.float32(place / (units + 1))),) for place in range(1, units + 1))
    return of_volumes(scores=dict.fromkeys(("volume", "slice", "mask"), scores))


def test_without_a_calibration_the_chosen_threshold_decides() -> None:
    rule = DecisionRule()
    thresholds = rule.thresholds(0.5)
    assert thresholds == Thresholds(0.5, 0.5, None)
    judged, used = rule.judge_slices(rows([0.2, 0.5, 0.45, 0.7], 0.1, blank=1), thresholds)
    assert used == thresholds
    assert [row.flagged for row in judged] == [False, True, False, True, False]
    assert [row.decision for row in judged] == ["normal", "uncertain", "uncertain", "abnormal", "blank"]
    assert all(row.p_value is None for row in judged)
    assert rule.judge_volume(0.9, 0.1, thresholds, blank=False) == (None, None)
    assert rule.report(thresholds) is None
    assert "Scores are uncalibrated" in rule.statement


@pytest.mark.parametrize(("factor", "expected"), [(0, "abnormal"), (1, "abnormal"), (2, "uncertain")])
def test_the_factor_widens_what_is_uncertain(factor: float, expected: str) -> None:
    rule = DecisionRule(uncertainty=factor)
    judged, _ = rule.judge_slices(rows([0.65], 0.1), rule.thresholds(0.5))
    assert judged[0].decision == expected
    assert judged[0].flagged


def test_a_model_without_deviations_is_never_uncertain() -> None:
    judged, _ = DecisionRule().judge_slices(rows([0.499, 0.5]), Thresholds(0.5, 0.5))
    assert [row.decision for row in judged] == ["normal", "abnormal"]


def test_with_a_calibration_p_values_decide() -> None:
    rule = DecisionRule(evenly(39), 0.1)
    thresholds = rule.thresholds(0.5)
    judged, used = rule.judge_slices(rows([0.95, 36.5 / 40, 0.9, 0.1], blank=1), thresholds)
    assert used == thresholds
    np.testing.assert_allclose([row.p_value for row in judged[:4]], [0.075, 0.1, 0.125, 0.925])
    assert judged[4].p_value is None
    assert [row.flagged for row in judged] == [True, True, False, False, False]
    assert [row.decision for row in judged] == ["abnormal", "abnormal", "normal", "normal", "blank"]


def test_flagged_and_p_values_agree_for_every_score() -> None:
    for seed in range(10):
        calibration = of_volumes(40, seed)
        scores = np.random.default_rng(seed).random(200).tolist() + [
            score for unit in calibration.scores["slice"] for score in unit
        ]
        rule = DecisionRule(calibration, 0.08)
        judged, used = rule.judge_slices(rows(scores), rule.thresholds(0.5))
        assert used.slice is not None
        for row in judged:
            assert row.flagged == (row.p_value is not None and row.p_value <= 0.08) == (row.score >= used.slice)


def test_benjamini_hochberg_flags_slices_together() -> None:
    calibration = evenly(199)
    each, joint = (DecisionRule(calibration, 0.1, benjamini_hochberg=on) for on in (False, True))
    scores = [0.5, 0.92, 0.97, 0.999]
    flags = {}
    for name, rule in (("each", each), ("joint", joint)):
        judged, used = rule.judge_slices(rows(scores, blank=2), rule.thresholds(0.5))
        flags[name] = [row.flagged for row in judged if not row.blank]
        assert used.slice is not None
        assert [row.score >= used.slice for row in judged if not row.blank] == flags[name]
    assert flags == {"each": [False, True, True, True], "joint": [False, False, True, True]}
    report = joint.report(Thresholds(0.9, 0.9, 0.9))
    assert report is not None
    assert report["benjamini_hochberg"]
    assert "this is no guarantee" in report["statements"]["slice"]


def test_where_joint_flagging_could_flag_nothing_there_is_no_threshold() -> None:
    rule = DecisionRule(evenly(20), 0.05, benjamini_hochberg=True)
    judged, used = rule.judge_slices(rows([1.0] + [0.1] * 9, 0.5), rule.thresholds(0.5))
    assert used.slice is None
    assert [row.decision for row in judged] == ["normal"] * 10


def test_a_volume_is_judged_by_volumes() -> None:
    rule = DecisionRule(evenly(39), 0.1)
    thresholds = rule.thresholds(0.5)
    assert rule.judge_volume(0.99, 0.01, thresholds, blank=False) == (pytest.approx(1 / 40), "abnormal")
    assert rule.judge_volume(0.91, 0.05, thresholds, blank=False)[1] == "uncertain"
    assert rule.judge_volume(0.3, 0.05, thresholds, blank=False) == (pytest.approx(29 / 40), "normal")
    assert rule.judge_volume(0.0, None, thresholds, blank=True) == (None, "blank")
    assert "Scores are calibrated on normal patients. Of normal patients like the 39" in rule.statement


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"uncertainty": -1}, ValueError, "a number of standard deviations, at least 0, not -1"),
        ({"uncertainty": float("inf")}, ValueError, "a number of standard deviations, at least 0, not inf"),
        ({"false_alarm_rate": 0}, ValueError, "lies between 0 and 1, not 0"),
        ({"benjamini_hochberg": True}, ValueError, "needs p-values, which only a calibration gives"),
        ({"calibration": of_images()}, ValueError, "the calibration is one of images; volumes need one that"),
        (
            {"calibration": of_volumes(30), "false_alarm_rate": 0.01},
            TooFewNormalsError,
            "a false-alarm rate of 0.01 needs at least 99 normal units, and the calibration has 30",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_an_error(arguments: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        DecisionRule(**arguments)
