"""Images and masks reach a model, in training and in the paper protocol, as the published code prepared them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors import safe_open
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.labelled_image import LabelledImage
from anomalib_zsad.data.listed_images import ListedImages
from anomalib_zsad.data.pillow_resize import PillowResize
from anomalib_zsad.evaluation.protocols import BayesPFLPublished, Deployable
from anomalib_zsad.models.components.pre_processor import CLIPPreProcessor

GOLDEN = Path(__file__).parents[1] / "golden"
TILES = Path(__file__).parents[3] / "shared" / "data" / "magnetic_tile"
with safe_open(GOLDEN / "inputs.safetensors", "pt") as stored:
    ANSWERS = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    MOMENTS = json.loads(stored.metadata()["moments"])
CASES = sorted({name.rsplit("/", 1)[0] for name in ANSWERS})


def files_of(key: str) -> tuple[Path, Path | None]:
    """Image and mask of a golden key."""
    if key.startswith("extra_"):
        return GOLDEN / "inputs" / key.removeprefix("extra_"), GOLDEN / "inputs" / "mask.png"
    kind = key[: key.index("_exp")]
    image = TILES / kind / key.removeprefix(f"{kind}_")
    if not image.exists():
        pytest.skip("shared/data/magnetic_tile is not here")
    mask = image.with_suffix(".png")
    return image, mask if mask.exists() else None


@pytest.mark.parametrize("case", CASES)
def test_the_paper_protocol_prepares_inputs_as_published(case):
    side, key = int(case.split("/")[0]), case.split("/")[1]
    image_path, mask_path = files_of(key)
    dataset = ListedImages([LabelledImage(image_path, mask_path is not None, "tile", mask_path)])
    transform = CLIPPreProcessor((side, side)).transform
    item = BayesPFLPublished().prepare(dataset, transform)[0]
    image = transform(torch.as_tensor(item.image))
    step = 21 if side == 518 and key.startswith("extra_") else 7
    assert (image[:, ::step, ::step] - ANSWERS[f"{case}/image"]).abs().max() <= 1e-5
    assert [float(image.mean()), float(image.std()), float(image.min()), float(image.max())] == pytest.approx(
        MOMENTS[case], abs=1e-5
    )
    if f"{case}/mask" in ANSWERS:
        expected = np.unpackbits(ANSWERS[f"{case}/mask"].numpy())[: side * side].reshape(side, side)
        assert np.array_equal(item.gt_mask.numpy().astype(np.uint8), expected)


def test_the_deployable_protocol_keeps_the_fast_resize():
    dataset = ListedImages([LabelledImage(GOLDEN / "inputs" / "rgb.png", False, "tile")])
    assert Deployable().prepare(dataset, CLIPPreProcessor((140, 140)).transform) is dataset


def test_an_image_of_more_than_eight_bits_keeps_its_depth():
    ramp = torch.linspace(0, 1, 4096).reshape(64, 64).expand(3, -1, -1)
    resized = PillowResize((32, 32))(Image(ramp))
    assert resized.unique().numel() > 900
    assert 0 <= float(resized.min()) <= float(resized.max()) <= 1


def test_a_mask_of_lines_is_cut_at_one_half():
    mask = torch.zeros(40, 40, dtype=torch.uint8)
    mask[:, 20] = 1  # a quarter of a pixel after the resize
    mask[:, 4:8] = 1
    resized = PillowResize((10, 10))(Mask(mask))
    assert resized.dtype == torch.uint8
    assert resized[:, 1].all()
    assert not resized[:, 3:].any()


def test_a_size_that_fits_changes_nothing():
    image = Image(torch.from_numpy(np.asarray(PILImage.open(GOLDEN / "inputs" / "rgb.png"))).permute(2, 0, 1) / 255)
    assert torch.equal(PillowResize(tuple(image.shape[-2:]))(image), image)
