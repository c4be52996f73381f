"""From scores of a volume to decisions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anomalib_zsad.calibration import Calibration, TooFewNormalsError
from anomalib_zsad.calibration.decision_rule import DecisionRule, Judgement
from anomalib_zsad.records.slice_rows import SliceRow
from anomalib_zsad.screening.slice_records import judge_rows
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


def test_without_a_calibration_a_chosen_threshold_decides() -> None:
    rule = DecisionRule("volumes", threshold=0.5)
    assert rule.thresholds == {"volume": None, "slice": 0.5, "mask": 0.5}
    judged, used = judge_rows(rule, rows([0.2, 0.5, 0.45, 0.7], 0.1, blank=1))
    assert used == 0.5
    assert [row.flagged for row in judged] == [False, True, False, True, False]
    assert [row.decision for row in judged] == ["normal", "uncertain", "uncertain", "abnormal", "blank"]
    assert all(row.p_value is None for row in judged)
    assert rule.judge("volume", [0.9], [0.1]) == [Judgement(None, False, "normal")]
    assert rule.report() is None
    assert rule.decided_by == "threshold"
    assert "the threshold of 0.5 was chosen by the user" in rule.statement


def test_without_calibration_and_threshold_slices_are_ranked_and_nothing_is_decided() -> None:
    rule = DecisionRule("volumes")
    assert (rule.decided_by, rule.mask_threshold) == ("nothing", 0.5)
    judged, used = judge_rows(rule, rows([0.2, 0.9, 0.45, 0.9], 0.1, blank=1))
    assert used is None
    assert {(row.flagged, row.decision, row.p_value) for row in judged} == {(None, None, None)}
    assert [row.rank for row in judged] == [4, 1, 3, 2, None]
    assert rule.settings()["threshold"] is None
    assert "nothing is decided" in rule.statement


@pytest.mark.parametrize(("factor", "expected"), [(0, "abnormal"), (1, "abnormal"), (2, "uncertain")])
def test_the_factor_widens_what_is_uncertain(factor: float, expected: str) -> None:
    for kind, level in (("volumes", "slice"), ("images", "image")):
        (judged,) = DecisionRule(kind, threshold=0.5, uncertainty=factor).judge(level, [0.65], [0.1])
        assert judged.decision == expected
        assert judged.flagged


def test_a_model_without_deviations_is_never_uncertain() -> None:
    judged, _ = judge_rows(DecisionRule("volumes", threshold=0.5), rows([0.499, 0.5]))
    assert [row.decision for row in judged] == ["normal", "abnormal"]


def test_with_a_calibration_p_values_decide() -> None:
    rule = DecisionRule("volumes", evenly(39), 0.1)
    judged, used = judge_rows(rule, rows([0.95, 36.5 / 40, 0.9, 0.1], blank=1))
    assert used == rule.thresholds["slice"]
    np.testing.assert_allclose([row.p_value for row in judged[:4]], [0.075, 0.1, 0.125, 0.925])
    assert judged[4].p_value is None
    assert [row.flagged for row in judged] == [True, True, False, False, False]
    assert [row.decision for row in judged] == ["abnormal", "abnormal", "normal", "normal", "blank"]


def test_flagged_and_p_values_agree_for_every_score_and_level() -> None:
    for seed in range(10):
        calibration = of_volumes(40, seed)
        for level in calibration.levels:
            scores = np.random.default_rng(seed).random(200).tolist() + [
                score for unit in calibration.scores[level] for score in unit
            ]
            rule = DecisionRule("volumes", calibration, 0.08)
            threshold = rule.thresholds[level]
            assert threshold is not None
            for score, judged in zip(scores, rule.judge(level, scores), strict=True):
                agreed = judged.p_value is not None and judged.p_value <= 0.08
                assert judged.flagged == agreed == (np.float32(score) >= threshold)


def test_benjamini_hochberg_flags_slices_together() -> None:
    calibration = evenly(199)
    each, joint = (DecisionRule("volumes", calibration, 0.1, benjamini_hochberg=on) for on in (False, True))
    scores = [0.5, 0.92, 0.97, 0.999]
    flags = {}
    for name, rule in (("each", each), ("joint", joint)):
        judged, used = judge_rows(rule, rows(scores, blank=2))
        flags[name] = [row.flagged for row in judged if not row.blank]
        assert used is not None
        assert [row.score >= used for row in judged if not row.blank] == flags[name]
    assert flags == {"each": [False, True, True, True], "joint": [False, False, True, True]}
    report = joint.report(slice=0.9)
    assert report is not None
    assert report["benjamini_hochberg"]
    assert report["thresholds"]["slice"] == 0.9
    assert "this is no guarantee" in report["statements"]["slice"]


def test_where_joint_flagging_could_flag_nothing_there_is_no_threshold() -> None:
    rule = DecisionRule("volumes", evenly(20), 0.05, benjamini_hochberg=True)
    judged, used = judge_rows(rule, rows([1.0] + [0.1] * 9, 0.5))
    assert used is None
    assert [row.decision for row in judged] == ["normal"] * 10


def test_a_volume_is_judged_by_volumes() -> None:
    rule = DecisionRule("volumes", evenly(39), 0.1)
    high, between, low = rule.judge("volume", [0.99, 0.91, 0.3], [0.01, 0.05, 0.05])
    assert (high.p_value, high.decision) == (pytest.approx(1 / 40), "abnormal")
    assert between.decision == "uncertain"
    assert (low.p_value, low.decision) == (pytest.approx(29 / 40), "normal")
    assert "Scores are calibrated on normal patients. Of normal patients like the 39" in rule.statement


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"uncertainty": -1}, ValueError, "a number of standard deviations, at least 0, not -1"),
        ({"uncertainty": float("inf")}, ValueError, "a number of standard deviations, at least 0, not inf"),
        ({"false_alarm_rate": 0}, ValueError, "lies between 0 and 1, not 0"),
        ({"threshold": 1.5}, ValueError, r"in \[0, 1\] like the scores, not 1.5"),
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
        DecisionRule("volumes", **arguments)
