"""Measured false alarms, sensitivity and Dice at the thresholds of a calibration."""

import numpy as np
import pytest

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.evaluation.calibrated_images import describe_figures, image_figures
from anomalib_zsad.evaluation.figure import share
from anomalib_zsad.evaluation.results import Run
from anomalib_zsad.evaluation.volumes.calibrated_figures import calibrated_figures, reaches
from anomalib_zsad.evaluation.volumes.figures import figures, recall_by_size
from anomalib_zsad.evaluation.volumes.rows import volumes_csv
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from tests.evaluation.volumes.volume_samples import flat_calibration, record, simulated_set

torch = pytest.importorskip("torch")


def small_set(calibration: Calibration, patients: tuple[str, ...] = ("p0", "p1", "p2", "p3")) -> VolumeSet:
    """Three normal volumes with highest values 0.2, 0.45 and 0.9, and one with a lesion of 0.8."""
    rule = DecisionRule("volumes", calibration, 0.05)
    threshold = rule.mask_threshold
    records = []
    for number, height in enumerate((0.2, 0.45, 0.9, 0.8)):
        heat = np.full((10, 10, 4), 0.1)
        mask = np.zeros(heat.shape, bool)
        heat[4:6, 4:6, 1] = height
        if number == 3:
            mask[4:6, 4:6, 1:3] = True
        records.append(record(f"series-{number}", heat, mask, patient=patients[number], threshold=threshold))
    return VolumeSet("set", "brain", Run("deployable", "", 0), tuple(records), rule=rule)


def test_thresholds_flag_what_the_p_values_flag() -> None:
    calibration = flat_calibration(0.5)
    volumes = small_set(calibration)
    figure = calibrated_figures(volumes)["normal volumes flagged by their score"]
    p_values = calibration.p_values("volume", [one.score for one in volumes.records if not one.abnormal])
    assert figure.count == (p_values <= 0.05).sum() == 1
    assert (figure.of, figure.value) == (3, pytest.approx(1 / 3))
    # The exact interval of 1 of 3, from tables of Clopper and Pearson's limits.
    assert (figure.low, figure.high) == (pytest.approx(0.0084, abs=1e-4), pytest.approx(0.9057, abs=1e-4))


@pytest.mark.parametrize("level", ["volume", "slice", "mask"])
def test_a_score_is_flagged_exactly_where_its_p_value_is_at_most_the_rate(level: str) -> None:
    calibration = flat_calibration(0.5)
    threshold = calibration.threshold(level, 0.05)
    scores = np.append(np.linspace(0, 1, 2001), [threshold, np.nextafter(np.float32(threshold), np.float32(0))])
    flagged = reaches(scores, threshold)
    np.testing.assert_array_equal(flagged, calibration.p_values(level, scores) <= 0.05)
    assert flagged[-2:].tolist() == [True, False]


def test_shares_at_the_calibrated_thresholds() -> None:
    values = calibrated_figures(small_set(flat_calibration(0.5)))
    assert (
        values["normal volumes with any marked voxel"].count,
        values["normal volumes with any marked voxel"].of,
    ) == (1, 3)
    slices = values["slices of normal volumes flagged"]
    assert (slices.count, slices.of, slices.low) == (1, 12, None)
    assert "not independent" in slices.note
    assert values["volumes with a lesion flagged by their score"].value == 1.0
    # The lesion is on two slices, and bright on one of them.
    assert (values["slices with a lesion flagged"].count, values["slices with a lesion flagged"].of) == (1, 2)
    # Four of eight lesion voxels are marked and nothing else.
    assert values["Dice"].value == pytest.approx(2 * 4 / (8 + 4))
    assert values["Dice"].threshold == values["normal volumes with any marked voxel"].threshold


def test_what_makes_false_alarms_less_of_a_measurement_is_said() -> None:
    values = calibrated_figures(small_set(flat_calibration(0.5, cases=["series-1"]), ("p0", "p0", "p2", "p3")))
    note = values["normal volumes flagged by their score"].note
    assert "1 of the 3 normal volumes were calibrated on" in note
    assert "several volumes of one patient are counted as independent" in note


def test_recall_by_size_and_rows_at_the_calibrated_threshold() -> None:
    volumes = small_set(flat_calibration(0.5))
    row = next(row for row in recall_by_size(volumes) if row.lesions)
    assert (row.size, row.lesions) == ("below 3 mm", 1)
    assert [figure.count for figure in row.recall.values()] == [1, 1, 1]
    lines = [line.split(",") for line in volumes_csv([volumes]).splitlines()]
    table = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert [line["flagged"] for line in table] == ["false", "false", "true", "true"]
    assert [line["marked_regions"] for line in table] == ["0", "0", "0", "0"]  # the samples count none
    assert float(table[3]["dice_calibrated"]) == pytest.approx(2 / 3, abs=1e-5)
    assert 0 < float(table[3]["p_value"]) <= 0.05 < float(table[0]["p_value"])


def test_without_normals_or_lesions_it_is_said_so() -> None:
    whole = small_set(flat_calibration(0.5))
    normal = VolumeSet("set", "brain", whole.run, whole.records[:3], rule=whole.rule)
    abnormal = VolumeSet("set", "brain", whole.run, whole.records[3:], rule=whole.rule)
    assert calibrated_figures(normal)["Dice"].note == "no volume with a lesion was scored"
    assert calibrated_figures(abnormal)["normal volumes with any marked voxel"].note == (
        "no volume without lesions was scored"
    )
    for one in (normal, abnormal):
        for group in figures(one).values():
            for figure in group.values():
                assert figure.value is not None or figure.note


def test_uncalibrated_set_has_no_such_figures() -> None:
    assert "calibrated" not in figures(simulated_set(4, 0))
    with pytest.raises(ValueError, match="evaluated without a calibration"):
        calibrated_figures(simulated_set(4, 0))


def test_false_alarms_of_images() -> None:
    scores = tuple((float(value),) for value in np.linspace(0, 0.5, 40, dtype=np.float32))
    calibration = Calibration("images", {"image": scores, "mask": scores}, {})
    found = image_figures(
        calibration,
        0.05,
        scores=torch.tensor([0.1, 0.2, 0.9, 0.95]),
        peaks=torch.tensor([0.1, 0.6, 0.9, 0.2]),
        abnormal=torch.tensor([False, False, False, True]),
    )
    shares = {name: (figure.count, figure.of) for name, figure in found.items()}
    assert shares == {
        "normal images flagged by their score": (1, 3),
        "abnormal images flagged by their score": (1, 1),
        "normal images with any marked pixel": (2, 3),
        "abnormal images with any marked pixel": (0, 1),
    }
    notes = describe_figures(found, 0.05)
    assert notes[0] == (
        "calibrated at a false-alarm rate of 5 %: normal images flagged by their score: 33.3 % (0.8 to 90.6) [1 of 3]"
    )


@pytest.mark.parametrize(("count", "of", "low", "high"), [(0, 12, 0.0, 0.2646), (1, 20, 0.0013, 0.2487)])
def test_exact_interval(count: int, of: int, low: float, high: float) -> None:
    """Published limits of Clopper and Pearson."""
    figure = share(count, of)
    assert (figure.low, figure.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
