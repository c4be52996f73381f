"""Measuring what the two ways to resize differ by."""

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad.data.folder_tree import FolderTreeDataset
from anomalib_zsad.demo.measure_resize import compare
from anomalib_zsad.evaluation.protocols import make_protocol
from anomalib_zsad.models.bayes_pfl import BayesPFL
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE


@pytest.mark.parametrize(("side", "most"), [(SIDE, 1e-3), (133, 12.0)])
def test_images_of_the_models_size_do_not_differ_and_others_do_by_a_few_levels(tmp_path, side, most) -> None:
    generator = np.random.default_rng(0)
    for kind in ("good", "cut", "masks/cut"):
        (tmp_path / "set" / "part" / kind).mkdir(parents=True)
    for index in range(3):
        pixels = generator.integers(40, 200, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "part" / "good" / f"{index}.png")
        pixels[5:20, 5:20], mask = 255, np.zeros((side, side), np.uint8)
        mask[5:20, 5:20] = 255
        Image.fromarray(pixels).save(tmp_path / "set" / "part" / "cut" / f"{index}.png")
        Image.fromarray(mask).save(tmp_path / "set" / "part" / "masks" / "cut" / f"{index}.png")
    torch.manual_seed(0)
    model = BayesPFL(**write_backbone(tmp_path, 20, CLIP), image_size=SIDE, visualizer=False).eval()
    dataset = FolderTreeDataset(tmp_path / "set", "part")
    found = compare(model, [(dataset, "part")], make_protocol("paper", "BayesPFL", "set"))
    assert found.images == 6
    assert 0 <= found.levels[0] <= found.levels[1] <= most
    assert (found.levels[0] > 0.1) == (side != SIDE)
    assert found.scores[1] <= (1e-6 if side == SIDE else 0.1)
    for auroc in (*found.pillow, *found.fast):
        assert 0 <= auroc <= 1
    if side == SIDE:
        assert found.pillow == pytest.approx(found.fast)
