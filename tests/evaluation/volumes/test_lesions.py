"""Candidates of maps and lesions of masks, on volumes small enough to count in."""

import numpy as np
import pytest

from anomalib_zsad.evaluation.volumes import candidates as candidates_module
from anomalib_zsad.evaluation.volumes.candidates import find_candidates
from anomalib_zsad.evaluation.volumes.lesions import (
    match_lesions,
    size_class,
    size_classes,
    sphere_diameter,
    voxel_volume,
)
from anomalib_zsad.volumes.volume import Units, Volume
from tests.evaluation.volumes.volume_samples import record


def peaks(heights: dict[tuple[int, int, int], float], shape: tuple[int, int, int] = (16, 16, 16)) -> np.ndarray:
    """A map that falls off from peaks."""
    index = np.indices(shape)
    heat = np.zeros(shape)
    for place, height in heights.items():
        distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(index, place, strict=True)))
        heat = np.maximum(heat, height - 0.05 * distance)
    return np.asfortranarray(np.clip(heat, 0, 1), np.float32)


def test_every_peak_is_a_candidate_with_its_height_and_place() -> None:
    heat = peaks({(3, 3, 3): 0.9, (12, 3, 8): 0.7, (4, 12, 12): 0.8})
    candidates = find_candidates(heat)
    np.testing.assert_allclose(candidates.scores, [0.9, 0.8, 0.7])
    assert candidates.voxels.tolist() == [[3, 3, 3], [4, 12, 12], [12, 3, 8]]
    assert candidates.complete


def test_candidates_do_not_depend_on_the_scale_of_the_map() -> None:
    heat = peaks({(3, 3, 3): 0.9, (12, 3, 8): 0.7, (4, 12, 12): 0.8})
    narrow = np.where(heat > 0, 0.5 + 0.01 * heat**3, 0).astype(np.float32, order="F")
    np.testing.assert_array_equal(find_candidates(narrow).voxels, find_candidates(heat).voxels)


def test_plateau_points_to_its_middle() -> None:
    heat = np.zeros((11, 11, 11), np.float32, order="F")
    heat[2:7, 4:9, 3:8] = 1.0
    candidates = find_candidates(heat)
    assert candidates.voxels.tolist() == [[4, 6, 5]]


def test_the_highest_are_kept_and_cutting_is_told() -> None:
    heat = np.zeros((24, 24, 24), np.float32, order="F")
    heat[::4, ::4, ::4] = np.linspace(0.1, 0.9, 216, dtype=np.float32).reshape(6, 6, 6)
    candidates = find_candidates(heat, limit=50)
    assert not candidates.complete
    np.testing.assert_allclose(candidates.scores, np.linspace(0.1, 0.9, 216)[::-1][:50], rtol=1e-6)


def test_regions_of_few_voxels_are_those_of_the_whole_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways of finding regions agree, also at the sides of the volume."""
    random = np.random.default_rng(0)
    for shape in ((9, 7, 5), (20, 3, 11), (1, 6, 6)):
        heat = np.asfortranarray(np.round(random.random(shape), 2), np.float32)
        few = find_candidates(heat)
        with monkeypatch.context() as patch:
            patch.setattr(candidates_module, "_FEW", 0)
            whole = find_candidates(heat)
        np.testing.assert_array_equal(few.scores, whole.scores)
        assert sorted(few.voxels.tolist()) == sorted(whole.voxels.tolist())


def test_empty_map_has_no_candidate() -> None:
    candidates = find_candidates(np.zeros((8, 8, 8), np.float32, order="F"))
    assert len(candidates.scores) == 0
    assert candidates.complete


def test_lesions_are_hit_by_the_candidates_that_lie_in_them() -> None:
    heat = peaks({(3, 3, 3): 0.9, (12, 3, 8): 0.7, (4, 12, 12): 0.8})
    mask = np.zeros(heat.shape, bool)
    mask[2:5, 2:5, 3] = True  # nine voxels, hit
    mask[5, 5, 4] = True  # touches a corner: the same lesion
    mask[12, 5:7, 8] = True  # two voxels beside a peak, not hit
    candidates = find_candidates(heat)
    lesions, hits = match_lesions(np.asfortranarray(mask), heat, candidates)
    assert sorted(lesions.voxels.tolist()) == [2, 10]
    hit = int(np.argmax(lesions.voxels))
    assert hits.tolist() == [hit + 1, 0, 0]
    assert lesions.scores[hit] == np.float32(0.9)
    assert np.isnan(lesions.scores[1 - hit])
    np.testing.assert_allclose(lesions.map_max[1 - hit], 0.6, atol=1e-6)


def volume(affine: np.ndarray, *, known: bool = True) -> Volume:
    voxels = np.zeros((4, 4, 4), np.float32, order="F")
    return Volume(voxels, affine, "MR", Units.ARBITRARY, 2, (None,) * 4, geometry_known=known)


def test_sizes_are_in_mm3_of_anisotropic_and_sheared_voxels() -> None:
    assert voxel_volume(volume(np.diag([-0.5, 0.8, 5.0, 1.0]))) == pytest.approx(2.0)
    sheared = np.diag([1.0, 1.0, 3.0, 1.0])
    sheared[1, 2] = 0.7  # a gantry tilt moves voxels, it does not make them larger
    assert voxel_volume(volume(sheared)) == pytest.approx(3.0)
    assert voxel_volume(volume(np.eye(4), known=False)) is None


def test_classes_of_size_are_by_the_diameter_of_a_sphere() -> None:
    assert size_classes() == ["below 3 mm", "3 to 5 mm", "5 to 10 mm", "10 to 20 mm", "20 mm and more"]
    assert sphere_diameter(4 / 3 * np.pi * 5**3) == pytest.approx(10.0)
    assert size_class(np.array([2.9, 3.0, 9.99, 10.0, 20.0, 80.0])).tolist() == [0, 1, 2, 3, 4, 4]


def test_record_keeps_lesions_without_geometry() -> None:
    mask = np.zeros((8, 8, 8), bool)
    mask[2, 2, 2] = True
    made = record("a", peaks({(2, 2, 2): 0.9}, (8, 8, 8)), mask, voxel_mm3=None)
    assert made.voxel_mm3 is None
    assert made.lesions.voxels.tolist() == [1]
