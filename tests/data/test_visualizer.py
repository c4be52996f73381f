"""Overviews of different images never overwrite each other."""

from types import SimpleNamespace

import pytest
import torch
from anomalib.data import ImageBatch

from anomalib_zsad.data import ClassNamedBatch
from anomalib_zsad.data.visualizer import CategoryVisualizer
from tests.data.conftest import write_image

PATHS = ["a/gear/good/000.png", "a/lens/good/000.png", "b/lens/good/000.png"]


@pytest.fixture
def paths(tmp_path):
    return [str(write_image(tmp_path / "data" / path)) for path in PATHS]


def write(folder, batch, datamodule=None, rounds=1):
    visualizer = CategoryVisualizer(field_size=(16, 16))
    trainer = SimpleNamespace(default_root_dir=folder, datamodule=datamodule)
    for _ in range(rounds):
        visualizer.on_predict_start(trainer, None)
        visualizer.on_predict_batch_end(trainer, None, None, batch, 0)
    return sorted(str(path.relative_to(folder / "images")) for path in (folder / "images").rglob("*.png"))


def batch(kind, paths, **fields):
    return kind(image=torch.rand(3, 3, 16, 16), anomaly_map=torch.rand(3, 16, 16), image_path=paths, **fields)


def test_class_names_are_folders_where_there_is_no_datamodule(tmp_path, paths):
    written = write(tmp_path, batch(ClassNamedBatch, paths, class_name=["gear", "lens", "lens"]))
    assert written == ["gear/good/000.png", "lens/good/000.png", "lens/lens/good/000.png"]


@pytest.mark.parametrize("rounds", [1, 2])
def test_without_names_more_of_the_images_folders_are_kept(tmp_path, paths, rounds):
    written = write(tmp_path, batch(ImageBatch, paths), rounds=rounds)
    assert written == ["b/lens/good/000.png", "good/000.png", "lens/good/000.png"]


def test_with_a_datamodule_paths_are_anomalibs_own(tmp_path, paths):
    written = write(tmp_path, batch(ImageBatch, paths), SimpleNamespace(name="data", category=""))
    assert written == PATHS
