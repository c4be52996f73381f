"""Which pictures int8 chooses its scales by, and that windows are seen where windows are scored."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad.data.image_files import read_image
from anomalib_zsad.models.components.tiled_model import TiledModel, WorkingSize
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.engines.build_engine import described
from anomalib_zsad.scoring.engines.pictures import Pictures, find_pictures, seen_by_model
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions

SIDE = 20


def pictures(folder: Path, count: int, shape: tuple[int, int] = (30, 40)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:03}.png")
    return folder


def prepare(images: torch.Tensor) -> torch.Tensor:
    batch = images.as_subclass(torch.Tensor)
    answer = torch.nn.functional.interpolate(batch if batch.ndim == 4 else batch[None], (SIDE, SIDE))
    return answer if batch.ndim == 4 else answer[0]


class Seen(torch.nn.Module):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor, names: Any = None) -> Any:
        del names
        self.images += list(images)
        return SimpleNamespace(pred_score=torch.zeros(len(images)), score_std=None, map_std=None, anomaly_map=None)


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 10)
    expected = find_pictures(folder)
    (folder / "._1.png").write_bytes(b"what macOS puts beside a picture")
    assert find_pictures(folder) == expected
    assert [path.name for path in expected.paths] == [f"{number:03}.png" for number in range(10)]


def test_a_folder_that_cannot_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, listed = pictures(tmp_path / "in", 10), os.scandir
    locked = pictures(folder / "locked", 3)

    def scandir(path: Any) -> Iterator[Any]:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match=r"locked: the folder cannot be read: Permission denied; int8 takes"):
        find_pictures(folder)


@pytest.mark.parametrize(("tile", "all_of_them"), [(16, False), (28, True)])
def test_int8_sees_the_windows_that_are_scored(tmp_path: Path, tile: int, all_of_them: bool) -> None:
    """Windows smaller than the model's image are seen as they are; for larger ones pictures are reduced."""
    found = find_pictures(pictures(tmp_path / "in", 10, (60, 90)))
    working, scored = WorkingSize(tile, SIDE), Seen()
    model = TiledModel(scored, prepare, working.window, 0.5)
    for path in found.paths:
        model(working(torch.as_tensor(read_image(path)).as_subclass(torch.Tensor)[None]))
    seen = list(seen_by_model(found, prepare, SIDE, TileOptions(tile, 0.5)))
    assert len(found.paths) < len(seen) <= 300
    assert all(any(torch.equal(one, other) for other in scored.images) for one in seen)
    assert (len(seen) == len(scored.images)) is all_of_them
    whole = list(seen_by_model(found, prepare, SIDE, WHOLE))
    assert len(whole) == 10
    assert torch.equal(whole[0], prepare(read_image(found.paths[0])))


def test_windows_are_a_part_of_the_precision() -> None:
    pytest.importorskip("nncf")
    found, options = Pictures((), 0, "0" * 64), EngineOptions("openvino", "int8", Path())
    whole = described({}, options, found)["precision"]
    tiled = described({}, options, found, TileOptions(64, 0.5))["precision"]
    assert tiled == f"{whole} by windows of 64 px, overlapping by 0.5"
