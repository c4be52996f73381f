"""ROC curves against scikit-learn and against counts made by hand."""

import numpy as np
import pytest
from sklearn import metrics

from anomalib_zsad.evaluation.volumes.roc import (
    area,
    roc_curve,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)

# Ten normal and five abnormal; two of each share the score 0.5.
NORMAL = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.5, 0.5, 0.9]
ABNORMAL = [0.2, 0.5, 0.5, 0.8, 0.95]
SCORES = np.array(NORMAL + ABNORMAL)
TRUTH = np.array([False] * 10 + [True] * 5)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_curve_and_area_are_those_of_scikit_learn(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    scores, truth = np.round(random.random(300), decimals), random.random(300) < 0.3
    curve = roc_curve(scores, truth)
    false_positive_rate, sensitivity, thresholds = metrics.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, false_positive_rate)
    np.testing.assert_allclose(curve.sensitivity, sensitivity)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert area(curve) == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_sensitivity_at_a_specificity_is_that_of_an_operating_point_with_at_least_it() -> None:
    curve = roc_curve(SCORES, TRUTH)
    # One false alarm (0.9) is allowed of ten at 90 %: down to 0.8; then two normal ones come at 0.5.
    figure = sensitivity_at_specificity(curve, 0.9)
    assert (figure.count, figure.of, figure.threshold) == (2, 5, 0.8)
    assert figure.value == 0.4
    assert figure.note == "specificity reached: 90.0 % [9 of 10]"
    # None is allowed of ten at 95 %: only 0.95 is above all normal ones.
    figure = sensitivity_at_specificity(curve, 0.95)
    assert (figure.count, figure.threshold) == (1, 0.95)
    assert figure.note == "specificity reached: 100.0 % [10 of 10]"


def test_nothing_is_flagged_where_the_highest_score_is_normal() -> None:
    figure = sensitivity_at_specificity(roc_curve(np.array([0.9, 0.1]), np.array([False, True])), 0.9)
    assert (figure.value, figure.threshold) == (0.0, None)
    assert "only by flagging nothing" in figure.note


def test_specificity_at_a_sensitivity() -> None:
    figure = specificity_at_sensitivity(roc_curve(SCORES, TRUTH), 0.8)
    # Four of five are found from 0.5 on, where three normal ones are flagged.
    assert (figure.count, figure.of, figure.threshold) == (7, 10, 0.5)
    assert figure.note == "sensitivity reached: 80.0 % [4 of 5]"


@pytest.mark.parametrize(
    ("truth", "reason"),
    [([True, True], "only abnormal ones"), ([False, False], "only normal ones"), ([], "none is normal and none abnor")],
)
def test_one_class_is_said_to_be_so(truth: list[bool], reason: str) -> None:
    curve = roc_curve(np.linspace(0, 1, len(truth)), np.array(truth, bool))
    assert area(curve) is None
    for figure in (sensitivity_at_specificity(curve, 0.9), specificity_at_sensitivity(curve, 0.9)):
        assert figure.value is None
        assert figure.note.startswith(reason)
        assert figure.text() == "not defined"
