"""Preparation in torch alone is that of torchvision's transforms, to the last bit."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from anomalib_zsad.models.components.clip_preparation import CLIPPreparation, resize_bicubic
from anomalib_zsad.models.components.pre_processor import CLIPPreProcessor

SHAPES = [(3, 40, 56), (3, 56, 40), (3, 28, 28), (3, 9, 200), (1, 3, 17, 17), (4, 3, 90, 61), (2, 2, 3, 33, 44)]


def images(shape: tuple[int, ...], *, colours_together: bool) -> torch.Tensor:
    made = torch.rand(shape, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    if not colours_together:
        return made
    return made.movedim(-3, -1).contiguous().movedim(-1, -3)  # as a picture comes from a file


@pytest.mark.parametrize("colours_together", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_prepared_as_in_the_lightning_module(shape: tuple[int, ...], colours_together: bool) -> None:
    given = images(shape, colours_together=colours_together)
    expected = CLIPPreProcessor((28, 28)).transform(given.clone())
    prepared = CLIPPreparation(28)(given)
    assert torch.equal(prepared, expected)
    assert prepared.stride() == expected.stride()  # the layout decides which kernels follow


@pytest.mark.parametrize("colours_together", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_are_resized_as_by_torchvision(shape: tuple[int, ...], colours_together: bool) -> None:
    given = images(shape, colours_together=colours_together)
    expected = resize(given, [19, 31], InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(resize_bicubic(given, (19, 31)), expected)


@pytest.mark.parametrize("side", [28, 518])
def test_it_says_of_itself_what_the_lightning_module_says(side: int) -> None:
    def said(transform: object) -> str:
        return " ".join(str(transform).split())

    assert said(CLIPPreparation(side)) == said(CLIPPreProcessor((side, side)).transform)
