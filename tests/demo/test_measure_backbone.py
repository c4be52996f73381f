"""Real sets are read as they are distributed; the measurement trains, tests and writes every figure."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.data.folder_layout import find_labelled_images
from anomalib_zsad.demo import measure_backbone, train
from anomalib_zsad.demo.real_pictures import write_trees


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder with two sets as they are distributed."""
    rng, root = np.random.default_rng(0), tmp_path / "real"
    for number in range(2):
        picture = rng.integers(0, 255, (48, 48, 3))
        mask = np.zeros((48, 48))
        mask[:8, :8], mask[20, 20] = 255, 3
        write(root / "magnetic_tile" / "MT_Free" / f"{number}.jpg", picture)
        write(root / "magnetic_tile" / "MT_Free" / f"{number}.png", np.zeros((48, 48)))
        write(root / "magnetic_tile" / "MT_Crack" / f"{number}.jpg", picture)
        write(root / "magnetic_tile" / "MT_Crack" / f"{number}.png", mask)
        write(root / "neu_steel" / "images" / f"{number}.jpg", picture)
        write(root / "neu_steel" / "masks" / f"{number}.png", (mask > 3) * 2)
    return root


def test_sets_become_trees_with_their_masks(real: Path, tmp_path: Path) -> None:
    found = write_trees(real, tmp_path / "trees")
    assert set(found) == {"magnetic_tile", "neu_steel"}
    tiles = find_labelled_images(tmp_path / "trees" / "magnetic_tile")
    assert sorted((image.kind, image.abnormal) for image in tiles) == [("crack", True)] * 2 + [("good", False)] * 2
    for tree in found:
        for image in find_labelled_images(tmp_path / "trees" / tree):
            if image.abnormal:
                assert (np.asarray(Image.open(image.mask_path)) > 0).sum() == 64


def test_a_folder_without_sets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds none of the folders magnetic_tile, neu_steel, head_ct_png"):
        write_trees(tmp_path, tmp_path / "trees")


@pytest.mark.slow
def test_every_figure_is_measured_and_written(real: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(train.EPOCHS, "CoPS", 1)
    figures = tmp_path / "figures.json"
    words = ["--methods", "CoPS", "--untrained", "--real", str(real), "--across", "--cases", "1"]
    assert measure_backbone.main([*words, "--output", str(figures)]) == 0
    found = json.loads(figures.read_text())["embedded, CoPS"]
    assert set(found) == {"trained", "untrained", "across"}
    for state in ("trained", "untrained"):
        assert set(found[state]) == {
            "drawn, unseen",
            "magnetic tiles",
            "NEU steel",
            "phantoms, head_ct",
            "phantoms, brain_mr",
        }
        assert found[state]["NEU steel"]["image_AUROC"] is None
        assert 0 <= found[state]["drawn, unseen"]["pixel_AUROC"] <= 1
        assert 0 <= found[state]["phantoms, head_ct"]["slices AUROC"] <= 1
    assert "CoPS, embedded, across, %" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        measure_backbone.main([*words, "--output", str(figures)])
    assert "exists; give another --output" in capsys.readouterr().err
