"""Drawings repeat for a seed, differ between seeds, and a defect changes nothing outside its mask."""

import numpy as np
import pytest

from anomalib_zsad.data.sample_set import sample_data_folder
from anomalib_zsad.demo.drawing import anatomy, defects, lesions, scene, surface_faults, textures, unseen, workpieces
from anomalib_zsad.demo.drawing.materials import MATERIALS
from anomalib_zsad.demo.drawing.objects import OBJECTS
from anomalib_zsad.demo.pretraining_pool import draw_pool, draw_twin

SIZE = 96
TEXTURES = sample_data_folder() / "textures"


def surface(name: str, style: int = 1, instance: int = 2) -> scene.Scene:
    return scene.surface(MATERIALS[name], np.random.default_rng(style), np.random.default_rng(instance), SIZE)


def assert_changed_inside_its_mask_only(clean: scene.Scene, damaged: defects.Damage, light: scene.Light) -> None:
    changed = np.abs(damaged.picture - clean.picture).max(-1)
    assert changed[~damaged.mask].max() == 0
    assert changed[damaged.mask].mean() >= 0.05
    assert not (damaged.mask & ~clean.area).any()
    photographs = light.photograph(clean.picture), light.photograph(damaged.picture)
    assert np.array_equal(photographs[0][~damaged.mask], photographs[1][~damaged.mask])


@pytest.mark.parametrize("name", MATERIALS)
def test_a_material_repeats_for_a_seed_and_differs_between_pieces(name: str) -> None:
    first, again, other = surface(name), surface(name), surface(name, instance=3)
    np.testing.assert_array_equal(first.picture, again.picture)
    assert first.picture.shape == (SIZE, SIZE, 3)
    assert first.picture.min() >= 0
    assert first.picture.max() <= 1
    assert not np.array_equal(first.picture, other.picture)


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_covers_a_part_of_the_picture(name: str) -> None:
    body = scene.body(OBJECTS[name], MATERIALS["plastic"], np.random.default_rng(0), np.random.default_rng(1), SIZE)
    assert 0.05 < body.area.mean() < 0.75
    # What lies behind is what one sees beside the object.
    far = ~np.asarray(body.area) & (np.abs(body.picture - body.behind).max(-1) < 0.02)
    assert far.sum() > 0.8 * (~body.area).sum()


@pytest.mark.parametrize("kind", [*defects.KINDS, "chip"])
@pytest.mark.parametrize("seed", range(3))
def test_a_defect_changes_the_picture_inside_its_mask_only(kind: str, seed: int) -> None:
    clean = scene.body(
        OBJECTS["disc"], MATERIALS["fabric"], np.random.default_rng(seed), np.random.default_rng(seed), SIZE
    )
    damaged = scene.damage(clean, kind, np.random.default_rng(seed))
    assert damaged.kind == kind
    assert_changed_inside_its_mask_only(clean, damaged, scene.light(np.random.default_rng(seed), SIZE))


def test_a_defect_that_cannot_be_seen_is_an_error() -> None:
    plain = np.full((SIZE, SIZE, 3), 0.5, dtype=np.float32)
    everywhere = np.ones((SIZE, SIZE), dtype=bool)
    nowhere = np.zeros((SIZE, SIZE), dtype=bool)
    with pytest.raises(defects.InvisibleDefectError, match="20 tries drew no visible stain on an area of 0 pixels"):
        defects.apply("stain", np.random.default_rng(0), plain, nowhere, plain)
    assert defects.apply("stain", np.random.default_rng(0), plain, everywhere, plain).mask.any()


def test_a_pool_does_not_depend_on_the_number_of_workers() -> None:
    pool = draw_pool(4, 64, seed=5, textures=TEXTURES, workers=2)
    assert len(pool) == 4
    for number in range(4):
        normal, abnormal, mask, name, kind = draw_twin((5, number), 64, TEXTURES)
        np.testing.assert_array_equal(pool.normal[number], normal)
        np.testing.assert_array_equal(pool.abnormal[number], abnormal)
        np.testing.assert_array_equal(pool.masks[number], mask)
        assert (pool.names[number], pool.kinds[number]) == (name, kind)
        assert np.array_equal(normal[~mask], abnormal[~mask])


def test_pretraining_draws_nothing_of_the_unseen_categories() -> None:
    drawn = {*MATERIALS.values(), *OBJECTS.values()}
    hidden = {unseen.leather, unseen.knitwear, unseen.crumb, unseen.biscuit, unseen.circuit_board}
    assert not drawn & hidden
    assert all(function.__module__ != unseen.__name__ for function in drawn)


def test_a_section_repeats_for_a_seed_and_holds_an_organ_inside_the_body() -> None:
    names = set()
    for seed in range(40):
        name, one = anatomy.section(np.random.default_rng(seed), SIZE)
        _, again = anatomy.section(np.random.default_rng(seed), SIZE)
        np.testing.assert_array_equal(one.picture, again.picture)
        names.add(name)
        assert one.picture.shape == (SIZE, SIZE, 3)
        assert 0 <= one.picture.min() <= one.picture.max() <= 1
        assert np.ptp(one.picture, axis=-1).max() == 0  # grey
        assert 0.005 < one.area.mean() < 0.8
        corners = one.area[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert not corners.any()
    assert names == set(anatomy.ORGANS)


@pytest.mark.parametrize("kind", lesions.LESIONS)
def test_a_lesion_lies_in_the_organ_and_changes_nothing_else(kind: str) -> None:
    for seed in range(4):
        _, clean = anatomy.section(np.random.default_rng(seed), SIZE)
        try:
            damaged = scene.damage(clean, kind, np.random.default_rng(seed), 1.0, lesions.LESIONS)
        except defects.InvisibleDefectError:
            continue
        break
    assert_changed_inside_its_mask_only(clean, damaged, anatomy.scanner_noise(np.random.default_rng(seed), SIZE))


@pytest.mark.parametrize("kind", surface_faults.SURFACE_FAULTS)
def test_a_fault_of_a_photographed_surface_changes_its_mask_only(kind: str) -> None:
    photographs = textures.read_textures(TEXTURES)
    style, instance = np.random.default_rng(5), np.random.default_rng(6)
    name, clean = textures.photographed(photographs, style, instance, SIZE)
    assert name in textures.TEXTURE_NAMES
    damaged = scene.damage(clean, kind, np.random.default_rng(1), 1.2, surface_faults.SURFACE_FAULTS)
    changed = np.abs(damaged.picture - clean.picture).max(-1)
    assert changed[~damaged.mask].max() == 0
    assert changed[damaged.mask].mean() >= 0.05


def test_a_piece_that_ends_in_the_picture_is_damaged_on_itself_alone() -> None:
    flat = np.full((SIZE, SIZE, 3), 0.6, dtype=np.float32)
    for seed in range(8):
        style, instance = np.random.default_rng(seed), np.random.default_rng(seed + 50)
        picture, area = workpieces.cut_out(flat, style, instance)
        assert 0 <= picture.min() <= picture.max() <= 1
        assert 0.4 < area.mean() < 1
        clean = scene.Scene(picture, area, np.zeros_like(picture))
        damaged = scene.damage(clean, "patch", np.random.default_rng(seed), 1.0, surface_faults.SURFACE_FAULTS)
        assert not damaged.mask[~area].any()


def test_rolling_and_lamps_keep_a_surface_within_range_and_differ_from_piece_to_piece() -> None:
    grain = np.random.default_rng(1).uniform(0.2, 0.8, (SIZE, SIZE, 3)).astype(np.float32)
    rolled = [workpieces.rolled(grain, np.random.default_rng(2), np.random.default_rng(seed)) for seed in (3, 4)]
    assert np.abs(np.diff(rolled[0], axis=0)).mean() < 0.9 * np.abs(np.diff(rolled[0], axis=1)).mean()
    lit = [workpieces.lit(grain, np.random.default_rng(seed)) for seed in (3, 4)]
    for first, second in (rolled, lit):
        assert 0 <= first.min() <= first.max() <= 1
        assert np.abs(first - second).mean() > 0.01


def test_the_sheets_hold_many_photographs_of_materials_that_captions_name() -> None:
    photographs = textures.read_textures(TEXTURES)
    assert len(photographs.pictures) == len(photographs.names) > 1000
    assert set(photographs.names) == set(textures.TEXTURE_NAMES)
    assert {picture.shape for picture in photographs.pictures} == {(124, 124, 3)}


def test_a_folder_without_sheets_is_an_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no contact sheets .* give the folder sample_data/textures"):
        textures.read_textures(tmp_path)


def test_a_pool_holds_drawn_products_photographs_and_sections() -> None:
    twins = [draw_twin((9, number), SIZE, TEXTURES) for number in range(40)]
    names = {name for *_, name, _ in twins}
    assert names & set(anatomy.ORGANS)
    assert names & set(textures.TEXTURE_NAMES)
    assert names & {*MATERIALS, *OBJECTS}
    for normal, abnormal, mask, _, _ in twins:
        assert mask.any()
        assert np.array_equal(normal[~mask], abnormal[~mask])
