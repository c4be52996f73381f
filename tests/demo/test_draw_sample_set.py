"""The sample set in the repository is what the generator draws, in MVTec AD's layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.data.sample_set import AUXILIARY_CATEGORIES, UNSEEN_CATEGORIES
from anomalib_zsad.demo import draw_sample_set as sample_data
from anomalib_zsad.demo.drawing import unseen

ROOT = Path(__file__).resolve().parents[2] / "sample_data" / "industrial"
ALL = (*AUXILIARY_CATEGORIES, *UNSEEN_CATEGORIES)


def test_the_listed_categories_are_the_folders() -> None:
    assert sorted(path.name for path in ROOT.iterdir()) == sorted(ALL)
    assert set(sample_data.CATEGORIES) == set(ALL)
    assert not set(AUXILIARY_CATEGORIES) & set(UNSEEN_CATEGORIES)
    assert len(ALL) >= 8
    assert len(UNSEEN_CATEGORIES) >= 3


@pytest.mark.parametrize("name", ALL)
def test_a_category_has_the_planned_pictures_and_masks(name: str) -> None:
    expected = {f"{folder}/{number:03d}.jpg" for folder, _, number in sample_data.plan(name)}
    expected |= {f"ground_truth/{kind}/{number:03d}_mask.png" for _, kind, number in sample_data.plan(name) if kind}
    assert {path.relative_to(ROOT / name).as_posix() for path in (ROOT / name).rglob("*.*")} == expected


@pytest.mark.parametrize("name", ALL)
def test_the_generator_draws_what_the_repository_holds(name: str) -> None:
    for folder, kind, number in list(sample_data.plan(name))[-1:0:-18]:
        piece = sample_data.draw_piece(name, number, kind)
        held = np.asarray(Image.open(ROOT / name / folder / f"{number:03d}.jpg"), dtype=float)
        # JPEG keeps fine textures within a few grey levels on average.
        assert np.abs(held - piece.picture).mean() < 6
        assert np.array_equal(piece.picture[~piece.mask], piece.flawless[~piece.mask])
        if kind is not None:
            mask = np.asarray(Image.open(ROOT / name / "ground_truth" / kind / f"{number:03d}_mask.png"))
            assert set(np.unique(mask)) == {0, 255}
            assert ((mask > 0) == piece.mask).mean() > 0.999


def test_unseen_categories_are_drawn_by_the_unseen_materials_and_no_other_is() -> None:
    for name, category in sample_data.CATEGORIES.items():
        outline = category.outline.__module__ if category.outline else unseen.__name__
        hidden = {category.material.__module__, outline} == {unseen.__name__}
        assert hidden == (name in UNSEEN_CATEGORIES)
        if name in AUXILIARY_CATEGORIES:
            assert category.material.__module__ != unseen.__name__


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(FileExistsError, match="exists already; name a new folder"):
        sample_data.write(tmp_path / "kept")


def test_a_failed_drawing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no space")

    monkeypatch.setattr(sample_data, "write_category", fail)
    with pytest.raises(RuntimeError, match="no space"):
        sample_data.write(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
