"""Augmentation: image and mask together, seeded, right on any size, and of the published distribution."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data import augmentation
from anomalib_zsad.data.augmentation import (
    BayesPFLAugmentation,
    RandomBrightnessContrast,
    RandomColorJitter,
    RandomGaussianBlur,
    RandomGaussianNoise,
    RandomRightAngle,
    RandomSmallRotation,
    mosaic,
)

PUBLISHED = json.loads((Path(__file__).parents[1] / "golden" / "augmentation.json").read_text())
MEASURED = PUBLISHED["measured"]["shift_of_the_mean_in_levels"]["by_transform_and_grey"]
DRAWS = 2000

STEPS: dict[str, v2.Transform] = {
    "rotate": RandomSmallRotation(),
    "quarter_turn": RandomRightAngle(),
    "brightness_contrast": RandomBrightnessContrast(),
    "noise": RandomGaussianNoise(),
    "box_blur": augmentation._BoxBlur(),
    "colour_jitter": RandomColorJitter(),
    "gaussian_blur": RandomGaussianBlur(),
    "whole_chain": BayesPFLAugmentation(),
}


def blob(height=40, width=64):
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[10:20, 24:40] = 1
    return Image(mask.float().expand(3, -1, -1).clone()), Mask(mask)


@pytest.mark.parametrize("grey", [30, 128, 220])
@pytest.mark.parametrize("name", sorted(STEPS))
def test_shifts_of_brightness_are_the_published_ones(name, grey):
    """Within 7 % of the standard deviation, and three standard errors of the mean (of two samples) or half a level."""
    torch.manual_seed(grey)
    image = Image(torch.full((3, 64, 64), grey / 255))
    results = [STEPS[name](image) for _ in range(DRAWS)]
    shifts = np.array([float(result.mean()) * 255 - grey for result in results])
    spreads = np.array([float(result.std()) * 255 for result in results])
    expected = MEASURED[name][str(grey)]
    error = 3 * expected["sd"] * (2 / DRAWS) ** 0.5
    assert shifts.mean() == pytest.approx(expected["mean"], abs=max(error, 0.05))
    assert shifts.std() == pytest.approx(expected["sd"], rel=0.07, abs=0.01)
    error = 3 * spreads.std() * (2 / DRAWS) ** 0.5
    assert spreads.mean() == pytest.approx(expected["sd_of_pixels_mean"], abs=max(error, 0.01))


def test_a_rotation_turns_image_and_mask_alike_and_keeps_shape():
    image, mask = blob()
    rotation = RandomSmallRotation()
    turned, turned_mask = (rotation.transform(part, {"degrees": 20.0}) for part in (image, mask))
    assert isinstance(turned, Image)
    assert isinstance(turned_mask, Mask)
    assert turned_mask.dtype == torch.uint8
    assert ((turned[0] > 0.5) == turned_mask.bool()).float().mean() > 0.99
    assert abs(int(turned_mask.sum()) - int(mask.sum())) < 12  # an area keeps its size on a side that is not square
    assert torch.equal(rotation.transform(image, {"degrees": 0.0}), image)


def test_what_a_rotation_brings_in_is_mirrored_without_the_edge_pixel():
    image = torch.rand(3, 9, 31).mul(255).round() / 255
    turned = RandomSmallRotation().transform(Image(image), {"degrees": 25.0})
    padded = cv2.copyMakeBorder((image * 255).byte().permute(1, 2, 0).numpy(), 20, 20, 20, 20, cv2.BORDER_REFLECT_101)
    outer = RandomSmallRotation().transform(
        Image(torch.from_numpy(padded).permute(2, 0, 1).float() / 255), {"degrees": 25.0}
    )
    assert (turned - outer[:, 20:-20, 20:-20]).abs().max() <= 6 / 255  # OpenCV's coordinates are of 1/32 pixel


def test_right_angles_turn_both():
    image, mask = blob()
    shapes = set()
    for seed in range(8):
        torch.manual_seed(seed)
        turned, turned_mask = RandomRightAngle()(image, mask)
        assert torch.equal(turned[0].bool(), turned_mask.bool())
        shapes.add(tuple(turned_mask.shape))
    assert shapes == {(40, 64), (64, 40)}


def test_noise_stays_in_range_and_leaves_the_mask():
    image, mask = blob()
    noisy, same = RandomGaussianNoise()(image, mask)
    assert torch.equal(same, mask)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert 0 < (noisy - image).abs().max() < 0.2


def test_contrast_and_offset_are_cut_to_whole_levels():
    levels = np.array([[[0, 10, 255]]], dtype=np.uint8)
    changed = RandomBrightnessContrast().transform_levels(levels, factor=1.05, offset=-3.0)
    assert changed.tolist() == [[[0, 7, 255]]]  # 1.05 * 10 - 3 = 7.5


@pytest.mark.parametrize(("colour", "weight"), [(0, 0.114), (1, 0.587), (2, 0.299)])
def test_grey_values_of_the_jitter_weigh_blue_as_red(colour, weight):
    levels = np.zeros((4, 4, 3), dtype=np.uint8)
    levels[..., colour] = 200
    values, order = [1.0, 1.0, 0.5, 0.0], [2, 0, 1, 3]
    changed = RandomColorJitter().transform_levels(levels, values=values, order=order)
    other = (colour + 1) % 3
    assert changed[0, 0, other] == pytest.approx(0.5 * 200 * weight, abs=1)


def test_the_kernel_of_the_gaussian_blur_is_drawn_as_published():
    torch.manual_seed(0)
    sides = [RandomGaussianBlur().make_params([])["side"] for _ in range(DRAWS)]
    for side, probability in ((3, 0.2), (5, 0.4), (7, 0.4)):
        assert sides.count(side) / DRAWS == pytest.approx(probability, abs=0.04)


@pytest.mark.parametrize(("side", "sigma"), [(3, 0.8), (5, 1.1), (7, 1.4)])
def test_the_width_of_the_gaussian_blur_follows_the_kernel(side, sigma):
    dot = np.zeros((15, 15, 3), dtype=np.uint8)
    dot[7, 7] = 255
    profile = RandomGaussianBlur().transform_levels(dot, side=side)[..., 0].sum(axis=0).astype(float)
    kernel = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    expected = 255 * kernel / kernel.sum()
    assert profile[7 - side // 2 : 8 + side // 2] == pytest.approx(expected, abs=10)


def test_the_published_augmentation_is_seeded_and_varies():
    image, mask = blob()

    def draw(seed):
        torch.manual_seed(seed)
        return BayesPFLAugmentation()(image, mask)

    first, again = draw(3), draw(3)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert len({float(draw(seed)[0].sum()) for seed in range(12)}) > 8
    for seed in range(12):
        augmented, augmented_mask = draw(seed)
        assert augmented.shape[-2:] == augmented_mask.shape
        assert augmented_mask.max() <= 1


def test_without_a_mask_and_on_a_single_pixel():
    for seed in range(20):
        torch.manual_seed(seed)
        assert BayesPFLAugmentation(1.0)(Image(torch.rand(3, 1, 1))).shape == (3, 1, 1)
    image, mask = blob()
    unchanged, _ = BayesPFLAugmentation(0.0)(image, mask)
    assert torch.equal(unchanged, image)


def test_a_mosaic_has_twice_the_first_image_and_scales_nothing():
    sizes = ((5, 7), (5, 9), (3, 7), (8, 8))
    parts = [
        (torch.full((3, *size), value), torch.full(size, value > 0.5))
        for size, value in zip(sizes, (0.1, 0.6, 0.3, 0.9), strict=True)
    ]
    image, mask = mosaic(parts)
    assert image.shape == (3, 10, 14)
    for row, column, value in ((4, 6, 0.1), (4, 13, 0.6), (7, 6, 0.3), (5, 7, 0.9), (9, 13, 0.9)):
        assert image[0, row, column] == pytest.approx(value)
        assert mask[row, column] == (value > 0.5)
    assert float(image[:, 8:, :7].max()) == 0  # the third is lower than the first: black below it
    assert mosaic([*parts[:3], (parts[3][0], None)])[1] is None
    assert mosaic([(torch.ones(3, 1, 1), None)] * 4)[0].shape == (3, 2, 2)
    with pytest.raises(ValueError, match="a mosaic has 4 parts, got 3"):
        mosaic(parts[:3])
