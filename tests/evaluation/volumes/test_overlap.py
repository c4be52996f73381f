"""Overlap, average precision and panoptic quality of lesions: by hand, and against PI-CAI's and panoptica's own."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score

from anomalib_zsad.evaluation.volumes.average_precision import average_precision, precision_interval
from anomalib_zsad.evaluation.volumes.bootstrap import draw_patients
from anomalib_zsad.evaluation.volumes.figures import figures
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules
from anomalib_zsad.evaluation.volumes.lesions import number_lesions
from anomalib_zsad.evaluation.volumes.overlap_matching import PanopticCounts, match, panoptic_counts
from anomalib_zsad.evaluation.volumes.regions import LIMIT, Regions, dynamic_regions, floor_of, regions_from
from anomalib_zsad.evaluation.volumes.set_marks import SetMarks
from tests.evaluation.volumes.volume_samples import flat_calibration, simulated_set

SHAPE = (30, 28, 12)


def blobs(seed: int, aside: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """A map of smooth hills on a ground of 0, and lesions under some of them, a little aside."""
    random = np.random.default_rng(seed)
    heat, mask = np.zeros(SHAPE), np.zeros(SHAPE, bool)
    grid = np.indices(SHAPE)
    for number in range(7):
        centre = random.uniform((4, 4, 2), np.array(SHAPE) - (4, 4, 2))
        distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)))
        heat = np.maximum(heat, random.uniform(0.3, 1) * np.exp(-((distance / random.uniform(1.5, 3)) ** 2)))
        if number % 2 and seed % 4:  # every fourth volume is normal
            place = centre + random.uniform(-aside, aside, 3)
            mask |= np.sqrt(sum((axis - at) ** 2 for axis, at in zip(grid, place, strict=True))) < 2.6
    heat[heat < 0.02] = 0
    return np.asfortranarray(heat, np.float32), np.asfortranarray(mask)


def marks(lesions: Sequence[float], wrong: Sequence[float], **others: object) -> SetMarks:
    """Marks of a set, each lesion and each false mark of a patient of its own."""
    count = len(lesions)
    return SetMarks(
        np.array(lesions, float),
        np.arange(count),
        np.array(wrong, float),
        count + np.arange(len(wrong)),
        count + len(wrong),
        count + len(wrong),
        **others,  # type: ignore[arg-type]
    )


def test_regions_are_those_of_pi_cai() -> None:
    reference = pytest.importorskip("report_guided_annotation", reason="needs picai_eval, of the extra dev")
    for seed in range(12):
        heat, mask = blobs(seed)
        numbers, _ = number_lesions(mask)
        assert floor_of(heat, 2, np.ones(SHAPE[2], bool)) == 0
        ours = dynamic_regions(heat, 0.0, numbers)
        hard, confidences, indexed = reference.extract_lesion_candidates(heat, threshold="dynamic-v2")
        np.testing.assert_allclose(np.sort(ours.scores), np.sort([value for _, value in confidences]), rtol=1e-6)
        sizes = {float(hard[indexed == number].max()): int((indexed == number).sum()) for number, _ in confidences}
        for score, size in zip(ours.scores, ours.voxels, strict=True):
            assert sizes[float(score)] == size


@pytest.mark.parametrize(("kind", "name"), [("iou", "IoU"), ("dice", "DSC")])
@pytest.mark.parametrize("min_overlap", [0.1, 0.3])
def test_lesions_found_and_average_precision_are_those_of_pi_cai(kind: str, name: str, min_overlap: float) -> None:
    reference = pytest.importorskip("picai_eval.eval", reason="needs picai_eval, of the extra dev")
    extract = pytest.importorskip("report_guided_annotation").extract_lesion_candidates
    found, wrong, missed = [], [], 0
    detected, truth = [], []
    for seed in range(12):
        heat, mask = blobs(seed)
        numbers, count = number_lesions(mask)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        ours = match(dynamic_regions(heat, 0.0, numbers), sizes, kind, min_overlap)  # type: ignore[arg-type]
        detected.append(extract(heat, threshold="dynamic-v2")[0])
        truth.append(mask.astype(np.int32))
        listed, *_ = reference.evaluate_case(detected[-1], truth[-1], min_overlap=min_overlap, overlap_func=name)
        hit = ~np.isnan(ours.lesion_scores)
        own = [(1, score, at) for score, at in zip(ours.lesion_scores[hit], ours.lesion_overlaps[hit], strict=True)]
        own += [(1, 0.0, 0.0)] * int((~hit).sum()) + [(0, score, 0.0) for score in ours.false_scores]
        np.testing.assert_allclose(sorted(own), sorted(listed), rtol=1e-5, atol=1e-7)
        found += ours.lesion_scores.tolist()
        wrong += ours.false_scores.tolist()
        missed += int((~hit).sum())
    assert missed
    assert wrong
    whole = reference.evaluate(detected, truth, min_overlap=min_overlap, overlap_func=name, num_parallel_calls=1)
    assert average_precision(marks(found, wrong))[0] == pytest.approx(whole.AP, abs=1e-6)


def test_panoptic_quality_is_that_of_panoptica() -> None:
    """Its wheel asks for older numpy and pandas than anomalib, so that it is in no extra."""
    reference = pytest.importorskip("panoptica", reason="needs panoptica (pip install --no-deps panoptica ...)")
    evaluator = reference.Panoptica_Evaluator(
        expected_input=reference.InputType.UNMATCHED_INSTANCE,
        instance_matcher=reference.NaiveThresholdMatching(strict_threshold=True),
    )
    pairs = 0
    for seed in range(12):
        heat, mask = blobs(seed, 1.0)
        numbers, count = number_lesions(mask)
        shown, regions = ndimage.label(heat >= 0.25, np.ones((3, 3, 3)))
        if not (count and regions):
            continue
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        ours = panoptic_counts(regions_from(heat, 0.25, numbers), sizes)
        theirs = evaluator.evaluate(shown.astype(np.uint8), numbers.astype(np.uint8), verbose=False)["ungrouped"]
        assert (ours.pairs, ours.false, ours.missed) == (theirs.tp, theirs.fp, theirs.fn)
        if ours.pairs:
            assert ours.quality == pytest.approx(theirs.pq)
            assert ours.segmentation_quality == pytest.approx(theirs.sq)
            assert ours.recognition_quality == pytest.approx(theirs.rq)
        pairs += ours.pairs
    assert pairs


def test_floor_is_what_most_of_the_seen_slices_have() -> None:
    """A map on a plateau has the regions of the same map on the ground."""
    heat, mask = blobs(1)
    numbers, _ = number_lesions(mask)
    raised = np.asfortranarray(0.5 + 0.01 * heat)
    raised[:, :, 3] = 0  # a slice that the model did not see
    seen = np.arange(SHAPE[2]) != 3
    floor = floor_of(raised, 2, seen)
    assert floor == pytest.approx(0.5)
    assert floor_of(raised, 2, np.zeros(SHAPE[2], bool)) == 0
    lowered = heat.copy(order="F")
    lowered[:, :, 3] = 0
    first, second = dynamic_regions(raised, floor, numbers), dynamic_regions(lowered, 0.0, numbers)
    np.testing.assert_allclose(first.scores, 0.5 + 0.01 * second.scores, rtol=1e-6)
    np.testing.assert_allclose(first.voxels, second.voxels, atol=2)


def test_specks_and_flat_maps_have_no_dynamic_region() -> None:
    heat = np.zeros(SHAPE, np.float32, order="F")
    none = np.zeros(SHAPE, np.int64)
    assert len(dynamic_regions(heat, 0.0, none).scores) == 0
    heat[3, 3, 3] = 0.9  # a single voxel
    assert len(dynamic_regions(heat, 0.0, none).scores) == 0
    heat[10:13, 10:13, 4:6] = 0.5
    assert dynamic_regions(heat, 0.0, none).voxels.tolist() == [18]


def test_regions_above_a_threshold_are_kept_up_to_the_limit() -> None:
    heat = np.zeros((48, 48, 24), np.float32, order="F")
    heat[::4, ::4, ::4] = np.linspace(0.1, 0.9, 864, dtype=np.float32).reshape(12, 12, 6)
    regions = regions_from(heat, 0.1, np.zeros(heat.shape, np.int64))
    assert len(regions.scores) == LIMIT
    assert not regions.complete
    assert regions.scores[0] == np.float32(0.9)
    assert (np.diff(regions.scores) <= 0).all()


def test_pairs_are_as_many_as_can_be() -> None:
    """One region overlaps both lesions, the better one best; the other overlaps only that: both lesions are found."""
    regions = Regions(np.array([0.9, 0.8], np.float32), np.array([10, 4]), np.array([[8, 2], [2, 0]]))
    made = match(regions, np.array([10, 4]), "iou", 0.1)
    np.testing.assert_allclose(made.lesion_scores, [0.8, 0.9], rtol=1e-6)
    np.testing.assert_allclose(made.lesion_overlaps, [2 / 12, 2 / 12])
    assert len(made.false_scores) == 0


def test_a_second_region_on_a_lesion_is_neither_right_nor_wrong() -> None:
    regions = Regions(np.array([0.9, 0.8, 0.7], np.float32), np.array([5, 5, 5]), np.array([[3], [4], [0]]))
    made = match(regions, np.array([10]), "dice", 0.1)
    assert made.lesion_scores.tolist() == [np.float32(0.8)]
    assert made.lesion_overlaps[0] == pytest.approx(8 / 15)
    assert made.false_scores.tolist() == [np.float32(0.7)]


def test_overlap_of_just_the_least_counts() -> None:
    regions = Regions(np.array([0.9], np.float32), np.array([1]), np.array([[1]]))
    assert match(regions, np.array([10]), "iou", 0.1).lesion_overlaps[0] == pytest.approx(0.1)
    assert np.isnan(match(regions, np.array([11]), "iou", 0.1).lesion_scores).all()


def test_average_precision_by_hand_and_as_scikit_learn() -> None:
    """Ranked: lesion, wrong, lesion and wrong at once, and a lesion that is never found."""
    made = marks([0.9, 0.5, np.nan], [0.7, 0.5])
    assert average_precision(made)[0] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 4)
    random = np.random.default_rng(0)
    lesions, wrong = random.normal(1, 1, 40).round(1), random.normal(0, 1, 60).round(1)
    truth, scores = np.repeat([1, 0], [40, 60]), np.concatenate([lesions, wrong])
    expected = average_precision_score(truth, scores)
    assert average_precision(marks(lesions.tolist(), wrong.tolist()))[0] == pytest.approx(expected)
    assert average_precision(marks([np.nan], []))[0] == 0


def test_average_precision_where_marks_were_cut_counts_the_rest_as_not_found() -> None:
    made = marks([0.9, 0.4], [0.5], lowest=0.45)
    assert average_precision(made)[0] == pytest.approx(0.5)


def test_resamples_are_those_of_sets_in_which_patients_are_repeated() -> None:
    volumes = simulated_set(24, 1)
    counts = draw_patients(volumes.volumes, 4)
    values = average_precision(volumes.marks, counts)
    for drawn, value in zip(counts, values, strict=True):
        times = drawn[volumes.volumes.patient]
        repeated = tuple(record for record, many in zip(volumes.records, times, strict=True) for _ in range(many))
        assert average_precision(replace(volumes, records=repeated).marks)[0] == pytest.approx(value)
    low, high = precision_interval(volumes.marks, volumes.volumes)
    assert low < average_precision(volumes.marks)[0] < high


def test_panoptic_quality_by_hand() -> None:
    regions = Regions(np.array([0.9, 0.8], np.float32), np.array([8, 5]), np.array([[8, 0], [0, 3]]))
    made = panoptic_counts(regions, np.array([10, 5]))
    assert made == PanopticCounts(0.8, 1, 1, 1)
    assert made.quality == pytest.approx(0.4)
    assert (made.recognition_quality, made.segmentation_quality) == (pytest.approx(0.5), pytest.approx(0.8))
    none = PanopticCounts()
    assert (none.quality, none.recognition_quality, none.segmentation_quality) == (None, None, None)
    assert panoptic_counts(regions, np.array([16, 5])).pairs == 0  # exactly one half is not more than half


def test_figures_are_there_where_they_are_asked_for() -> None:
    volumes = simulated_set(24, 0, flat_calibration(0.62), shift=0.4)
    assert "lesions by iou" not in figures(volumes)
    asked = replace(volumes, lesion_rules=LesionRules(("iou", "dice", "panoptic"), 0.2, "calibrated"))
    made = figures(asked)
    precision = made["lesions by iou"]["average precision"]
    assert precision.low < precision.value < precision.high
    assert "regions from the calibrated threshold on; a lesion is found from an overlap of 0.2 on" in precision.note
    assert 0 < made["panoptic"]["panoptic quality"].value <= made["panoptic"]["recognition quality"].value
    found = made["lesions by dice"]["lesions found at 8 false positives per volume"]
    assert found.of == 24
    assert 0 < found.count <= 24
    few = replace(asked, records=asked.records[:8])
    assert figures(few)["lesions by iou"]["average precision"].text() == "too few patients"
    normal = replace(asked, records=tuple(one for one in asked.records if not one.abnormal))
    assert figures(normal)["lesions by iou"]["average precision"].note == "there is no lesion"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lesion_figures": ("iou",), "min_overlap": 0.0}, "above 0 and at most 1, not 0.0"),
        ({"lesion_figures": ("panoptic",), "min_overlap": 0.5}, "--min-overlap is for --lesion-figures iou or dice"),
        ({"lesion_regions": "calibrated"}, "--lesion-regions is for --lesion-figures"),
    ],
)
def test_rules_that_make_no_sense(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LesionRules(**arguments)
