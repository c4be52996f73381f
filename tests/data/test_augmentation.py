"""Augmentation: image and mask together, seeded, right on any size."""

import pytest
import torch
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.augmentation import BayesPFLAugmentation, RandomGaussianNoise, RandomRightAngle, mosaic
from anomalib_zsad.data.augmentation import _rotate as rotate


def blob(height=40, width=64):
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[10:20, 24:40] = 1
    return Image(mask.float().expand(3, -1, -1).clone()), Mask(mask)


def test_a_rotation_turns_image_and_mask_alike_and_keeps_shape():
    image, mask = blob()
    angle = torch.deg2rad(torch.tensor(20.0))
    turned, turned_mask = rotate(image, angle), rotate(mask, angle)
    assert isinstance(turned, Image)
    assert isinstance(turned_mask, Mask)
    assert turned_mask.dtype == torch.uint8
    assert ((turned[0] > 0.5) == turned_mask.bool()).float().mean() > 0.99
    assert abs(int(turned_mask.sum()) - int(mask.sum())) < 12  # an area keeps its size on a side that is not square
    assert torch.equal(rotate(image, torch.tensor(0.0)).round(), image)


def test_what_a_rotation_brings_in_is_mirrored_not_black():
    assert rotate(Image(torch.ones(3, 9, 31)), torch.tensor(0.5)).min() > 0.99


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
    assert 0 < (noisy - image).abs().max() < 0.15


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


def test_a_mosaic_puts_each_part_in_its_quarter():
    parts = [(torch.full((3, 5, 7), value), torch.full((5, 7), value > 0.5)) for value in (0.1, 0.6, 0.3, 0.9)]
    image, mask = mosaic(parts)
    assert image.shape == (3, 5, 7)
    for row, column, value in ((0, 0, 0.1), (0, 6, 0.6), (4, 0, 0.3), (4, 6, 0.9)):
        assert image[0, row, column] == pytest.approx(value)
        assert mask[row, column] == (value > 0.5)
    assert mosaic([*parts[:3], (parts[3][0], None)])[1] is None
    assert mosaic([(torch.ones(3, 1, 1), None)] * 4)[0].shape == (3, 1, 1)
    with pytest.raises(ValueError, match="a mosaic has 4 parts, got 3"):
        mosaic(parts[:3])
