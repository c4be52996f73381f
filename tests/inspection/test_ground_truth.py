"""What folder names and masks say of inspected images, and where they say nothing."""

from pathlib import Path

import numpy as np
from PIL import Image

from anomalib_zsad.inspection.find_images import find_images
from anomalib_zsad.inspection.ground_truth import ground_truth


def told(root: Path, files: dict[str, int]) -> dict[str, str]:
    """Ground truth of files that are filled with a grey level each."""
    for name, level in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), level, np.uint8)).save(root / name)
    return dict(ground_truth(find_images(root).images))


def test_folders_beside_a_normal_one_are_abnormal(tmp_path: Path) -> None:
    files = {"tile/test/good/1.png": 9, "tile/test/crack/1.png": 9, "tile/ground_truth/crack/1_mask.png": 255}
    assert told(tmp_path, files) == {"tile/test/good/1.png": "normal", "tile/test/crack/1.png": "abnormal"}


def test_other_folders_say_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, {"line1/1.png": 9, "line2/2.png": 9, "3.png": 9}) == {}


def test_masks_tell(tmp_path: Path) -> None:
    files = {"images/a.jpg": 9, "images/b.jpg": 9, "images/c.jpg": 9, "masks/a.png": 255, "masks/b_mask.png": 0}
    assert told(tmp_path, files) == {"images/a.jpg": "abnormal", "images/b.jpg": "normal"}


def test_a_mask_beside_an_image(tmp_path: Path) -> None:
    files = {"x/a.png": 9, "x/a_mask.png": 255, "x/b.png": 9, "x/b_mask.png": 0, "x/c.png": 9}
    assert told(tmp_path, files) == {"x/a.png": "abnormal", "x/b.png": "normal"}
    (tmp_path / "x" / "b_mask.png").write_bytes(b"torn")
    assert told(tmp_path, {}) == {"x/a.png": "abnormal"}
