"""Uncertain decisions and the errors among them."""

import numpy as np
import pytest

from anomalib_zsad.calibration.uncertainty import Certainty, certainty, is_uncertain


def test_uncertain_is_what_would_be_decided_otherwise_within_its_deviation() -> None:
    scores, deviations = [0.40, 0.45, 0.50, 0.55, 0.60], [0.05, 0.05, 0.0, 0.05, 0.05]
    np.testing.assert_array_equal(is_uncertain(scores, deviations, 0.5), [False, True, False, False, False])
    np.testing.assert_array_equal(is_uncertain(scores, deviations, 0.5, 1.01), [False, True, False, True, False])
    np.testing.assert_array_equal(is_uncertain(scores, deviations, 0.5, 2.5), [True, True, False, True, True])
    assert not is_uncertain(scores, deviations, 0.5, 0).any()


def test_errors_are_counted_by_certainty() -> None:
    scores, deviations = [0.1, 0.45, 0.52, 0.9, 0.49], [0.0, 0.1, 0.1, 0.1, 0.0]
    abnormal = [True, True, False, True, False]
    found = certainty(scores, deviations, abnormal, 0.5)
    assert found == Certainty(certain=3, certain_errors=1, uncertain=2, uncertain_errors=2, nearest_errors=1)
    assert (found.certain_rate, found.uncertain_rate, found.nearest_rate) == pytest.approx((1 / 3, 1, 1 / 2))
    both = found + found
    assert (both.uncertain, both.certain_rate) == (4, found.certain_rate)
    none = certainty(scores, np.zeros(5), abnormal, 0.5)
    assert none.uncertain_rate is None
    assert none.nearest_rate is None
