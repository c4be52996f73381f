"""Brightness and sharpness of pictures."""

import cv2
import numpy as np
import pytest
import torch

from anomalib_zsad.data.appearance import appearance


def test_figures_are_those_of_the_whole_picture_whatever_its_size() -> None:
    random = np.random.default_rng(0)
    for shape in ((1, 1), (5, 700), (256, 30), (257, 31), (700, 90)):
        picture = random.random((3, *shape)).astype(np.float32)
        grey = 0.299 * picture[0] + 0.587 * picture[1] + 0.114 * picture[2]
        found = appearance(torch.from_numpy(picture))
        assert found.brightness == pytest.approx(float(grey.mean()), abs=1e-6)
        assert found.sharpness == pytest.approx(float(cv2.Laplacian(grey, cv2.CV_32F).std()), abs=1e-5)


def test_a_darker_picture_is_less_bright_and_a_blurred_one_less_sharp() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).random((3, 64, 64)).astype(np.float32))
    blurred = torch.nn.functional.avg_pool2d(picture[None], 5, 1, 2)[0]
    assert appearance(0.5 * picture).brightness == pytest.approx(0.5 * appearance(picture).brightness)
    assert appearance(blurred).sharpness < 0.2 * appearance(picture).sharpness
