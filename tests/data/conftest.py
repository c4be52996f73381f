"""Small folders of images that the data tests draw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_image(path: Path, value: int = 100, size: tuple[int, int] = (12, 16)) -> Path:
    """Write a gray image of height x width `size`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(path)
    return path


def write_mask(path: Path, value: int = 255, size: tuple[int, int] = (12, 16)) -> Path:
    """Write a mask whose upper left quarter has `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    mask[: size[0] // 2, : size[1] // 2] = value
    Image.fromarray(mask).save(path)
    return path


def write_mvtec_category(folder: Path, normal: int = 2, anomalous: int = 3) -> None:
    """Write a category in MVTec AD's layout, with one training image."""
    write_image(folder / "train" / "good" / "000.png", 10)
    for index in range(normal):
        write_image(folder / "test" / "good" / f"{index:03}.png", 50)
    for index in range(anomalous):
        write_image(folder / "test" / "crack" / f"{index:03}.png", 200 + index)
        write_mask(folder / "ground_truth" / "crack" / f"{index:03}_mask.png")


@pytest.fixture(scope="session")
def mvtec_root(tmp_path_factory) -> Path:
    """Four of MVTec AD's categories, drawn, in a folder that is not called MVTecAD."""
    root = tmp_path_factory.mktemp("parts")
    for name in ("bottle", "cable", "tile", "zipper"):
        write_mvtec_category(root / name)
    return root


@pytest.fixture(scope="session")
def target_root(tmp_path_factory) -> Path:
    """Two categories of other names."""
    root = tmp_path_factory.mktemp("target")
    for name in ("gear", "lens"):
        write_mvtec_category(root / name)
    return root
