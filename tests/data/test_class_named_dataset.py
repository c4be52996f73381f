"""Class names and masks survive what is done with datasets."""

import pickle

import pandas as pd
import pytest
import torch
from anomalib import TaskType
from anomalib.data import AnomalibDataset, MVTecADDataset
from anomalib.data.utils import random_split, split_by_label
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Resize

from anomalib_zsad.data import ClassNamedBatch, ClassNamedDataset
from tests.data.conftest import write_image, write_mask


@pytest.fixture
def pooled(mvtec_root):
    parts = [
        ClassNamedDataset.from_dataset(MVTecADDataset(mvtec_root, name, split="test"), name)
        for name in ("cable", "bottle")
    ]
    return parts[0] + parts[1]


def names(dataset):
    return {item.class_name for item in dataset}


def test_reads_what_anomalib_reads(mvtec_root):
    plain = MVTecADDataset(mvtec_root, "tile", split="test")
    named = ClassNamedDataset.from_dataset(plain, "tile")
    assert len(named) == 5
    for expected, item in zip(plain, named, strict=True):
        assert torch.equal(item.image, expected.image)
        assert torch.equal(item.gt_mask, expected.gt_mask)
        assert item.gt_label == expected.gt_label
        assert item.image_path == expected.image_path
        assert item.class_name == "tile"


def test_names_survive_sum_subset_splits_augmentation_and_pickling(pooled):
    assert pooled.class_names == ["bottle", "cable"]
    assert len(pooled) == 10
    for item in pooled:
        assert f"/{item.class_name}/" in item.image_path
    assert names(pooled.subsample([0, 9])) == {"bottle", "cable"}
    normal, anomalous = split_by_label(pooled)
    assert names(normal) == names(anomalous) == {"bottle", "cable"}
    first, second = random_split(pooled, 0.5, label_aware=True, seed=0)
    assert len(first) + len(second) == 10
    pooled.augmentations = Resize((8, 8))
    restored = pickle.loads(pickle.dumps(pooled))  # noqa: S301  what a worker process does
    assert restored[3].class_name == pooled[3].class_name
    assert restored[3].image.shape == (3, 8, 8)
    assert restored[3].gt_mask.shape == (8, 8)


def test_workers_give_the_same_batches(pooled):
    loaders = [
        DataLoader(pooled, batch_size=4, num_workers=workers, collate_fn=pooled.collate_fn) for workers in (0, 2)
    ]
    for alone, working in zip(*loaders, strict=True):
        assert isinstance(working, ClassNamedBatch)
        assert working.class_name == alone.class_name
        assert torch.equal(working.image, alone.image)
        assert torch.equal(working.gt_mask, alone.gt_mask)


def test_pooling_sums_and_refuses_a_mixture(pooled, mvtec_root):
    class OtherDataset(ClassNamedDataset):
        pass

    total = ClassNamedDataset.pooled([pooled.subsample([0, 1]), pooled.subsample([2])])
    assert len(total) == 3
    with pytest.raises(TypeError, match="only datasets of one class can be pooled"):
        ClassNamedDataset.pooled([pooled, OtherDataset(pooled.samples)])


def test_without_masks_it_is_a_dataset_for_classification(tmp_path):
    paths = [str(write_image(tmp_path / f"{index}.png")) for index in range(2)]
    samples = pd.DataFrame({"image_path": paths, "label_index": [0, 1], "split": "test", "class_name": "gear"})
    dataset = ClassNamedDataset(samples)
    assert dataset.task == TaskType.CLASSIFICATION
    assert len(dataset.lacking_masks()) == 1
    batch = ClassNamedBatch.collate([dataset[0], dataset[1]])
    assert batch.gt_mask is None
    assert batch.gt_label.tolist() == [False, True]


def test_a_dataset_with_a_reading_of_its_own_is_refused_and_a_named_one_kept(pooled):
    class OwnReading(AnomalibDataset):
        def __getitem__(self, index):
            raise NotImplementedError

    with pytest.raises(TypeError, match="OwnReading reads its items in a way of its own"):
        ClassNamedDataset.from_dataset(OwnReading(), "gear")
    assert ClassNamedDataset.from_dataset(pooled, "gear") is pooled


def test_a_mask_of_another_size_is_an_error(tmp_path):
    image, mask = write_image(tmp_path / "a.png"), write_mask(tmp_path / "b.png", size=(6, 16))
    samples = {"image_path": [str(image)], "mask_path": [str(mask)], "label_index": [1], "split": ["test"]}
    dataset = ClassNamedDataset(pd.DataFrame(samples))
    with pytest.raises(ValueError, match=r"b\.png has 6 x 16 pixels .*has 12 x 16"):
        dataset[0]


def test_mosaic_of_anomalous_images_of_the_class(pooled):
    pooled.mosaic_probability = 1.0
    for item in pooled:
        assert item.gt_label
        assert item.gt_mask.shape == item.image.shape[-2:] == (24, 32)
        # every quarter is an anomalous image (200 to 202 of 255), its upper left quarter marked
        assert item.image.min() >= 199 / 255
        assert item.gt_mask.float().mean() == 0.25
    with pytest.raises(ValueError, match=r"mosaic_probability must be in \[0, 1\], got 2"):
        ClassNamedDataset(mosaic_probability=2)


@pytest.mark.parametrize("name", [5, b"tile", ["tile"]])
def test_names_that_are_no_strings_are_refused(mvtec_root, name):
    plain = MVTecADDataset(mvtec_root, "tile", split="test")
    with pytest.raises(TypeError, match="class_name must be a string, got"):
        ClassNamedDataset(plain.samples.assign(class_name=[name] * len(plain.samples)))
