"""Measuring the drift test: a change is noticed, an unchanged line is not, and the tables are printed."""

import pytest

from anomalib_zsad.demo import measure_drift
from anomalib_zsad.demo.measure_drift import Production, alarm, alarm_without_ranks


def test_a_change_is_noticed_after_it_came() -> None:
    found = alarm(0, 100, [(Production(), 100), (Production(1.0), 300)], 0.01)
    assert found is not None
    assert 100 < found < 300
    assert alarm(0, 100, [(Production(defects=0.05), 300)], 0.01) is None


def test_p_values_of_the_calibration_alone_end_in_false_alarms() -> None:
    """A calibration is never just like production: whoever goes on comparing with it alone will see the difference."""
    assert sum(alarm_without_ranks(seed, 20, 2000, 0.01) is not None for seed in range(8)) >= 2


def test_the_tables_are_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_drift, "CHANGES", {"scores higher by 1 deviation": Production(1.0)})
    assert measure_drift.main(["--runs", "1", "--images", "5"]) == 0
    said = capsys.readouterr().out
    assert "alarms in 1 runs of 5 images" in said
    assert "scores higher by 1" in said
