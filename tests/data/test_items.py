"""Class-named items and batches: collating, iterating, updating, converting, moving."""

import pickle

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch, ImageItem
from lightning.fabric.utilities.apply_func import move_data_to_device
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem, NumpyClassNamedBatch, NumpyClassNamedItem


def make_item(name="hazelnut", height=6, width=8, label=1, with_mask=True, **fields):
    return ClassNamedItem(
        image=Image(torch.rand(3, height, width)),
        gt_mask=Mask(torch.ones(height, width, dtype=torch.bool)) if with_mask else None,
        gt_label=torch.tensor(label),
        image_path=f"{name}.png",
        mask_path=f"{name}_mask.png" if label else None,
        class_name=name,
        **fields,
    )


@pytest.fixture
def batch():
    return ClassNamedBatch.collate([make_item("hazelnut"), make_item("tile", label=0)])


def test_collate_keeps_names_masks_labels_and_paths(batch):
    assert isinstance(batch, ImageBatch)
    assert batch.class_name == ["hazelnut", "tile"]
    assert batch.image.shape == (2, 3, 6, 8)
    assert batch.gt_mask.shape == (2, 6, 8)
    assert batch.gt_label.tolist() == [True, False]
    assert [item.mask_path for item in batch] == ["hazelnut_mask.png", None]


def test_uncertainty_set_by_update_survives_items_iteration_and_numpy(batch):
    assert batch.score_std is None
    assert batch.map_std is None
    batch.update(score_std=torch.tensor([0.1, 0.2]), map_std=torch.arange(96.0).reshape(2, 1, 6, 8))
    assert batch.map_std.shape == (2, 6, 8)
    for index, item in enumerate(batch):
        assert item.class_name == ["hazelnut", "tile"][index]
        assert item.score_std == pytest.approx([0.1, 0.2][index])
        assert torch.equal(item.map_std, batch.map_std[index])
    arrays = batch.to_numpy()
    assert isinstance(arrays, NumpyClassNamedBatch)
    assert arrays.class_name == ["hazelnut", "tile"]
    assert arrays.map_std.shape == (2, 6, 8)
    single = batch.items[1].to_numpy()
    assert isinstance(single, NumpyClassNamedItem)
    assert single.class_name == "tile"
    np.testing.assert_allclose(single.score_std, 0.2)
    assert [item.class_name for item in arrays] == ["hazelnut", "tile"]


def test_a_batch_in_parts_and_joined_again_is_the_same(batch):
    again = ClassNamedBatch.collate(batch.items)
    assert torch.equal(again.image, batch.image)
    assert torch.equal(again.gt_mask, batch.gt_mask)
    assert again.class_name == batch.class_name


def test_items_share_memory_with_the_batch(batch):
    assert batch.items[1].image.data_ptr() == batch.image[1].data_ptr()


def test_moves_and_pickles(batch):
    moved = move_data_to_device(batch, torch.device("cpu"))
    assert moved.class_name == batch.class_name
    restored = pickle.loads(pickle.dumps(batch))  # noqa: S301  what a worker process does
    assert restored.class_name == batch.class_name
    assert torch.equal(restored.image, batch.image)


def test_from_batch_shares_tensors_and_keeps_identity(batch):
    plain = ImageBatch(image=torch.rand(2, 3, 4, 4), image_path=["a", "b"])
    named = ClassNamedBatch.from_batch(plain, ["tile", "grid"])
    assert named.image.data_ptr() == plain.image.data_ptr()
    assert named.class_name == ["tile", "grid"]
    assert ClassNamedBatch.from_batch(plain).class_name is None
    assert ClassNamedBatch.from_batch(batch, ["x", "y"]) is batch
    assert batch.class_name == ["hazelnut", "tile"]


def test_different_sizes_become_the_largest_and_leave_the_items_alone():
    small, large = make_item(height=4, width=4), make_item(height=6, width=10)
    batch = ClassNamedBatch.collate([small, large])
    assert batch.image.shape == (2, 3, 6, 10)
    assert batch.gt_mask.shape == (2, 6, 10)
    assert small.image.shape == (3, 4, 4)


def test_plain_items_collate_without_names():
    batch = ClassNamedBatch.collate([ImageItem(image=torch.rand(3, 4, 4))])
    assert batch.class_name is None
    assert batch.gt_mask is None


def test_refusals():
    with pytest.raises(ValueError, match="at least one item"):
        ClassNamedBatch.collate([])
    with pytest.raises(ValueError, match="only some images of a batch have 'gt_mask'"):
        ClassNamedBatch.collate([make_item(), make_item(with_mask=False)])
    with pytest.raises(TypeError, match="class_name must be a string, got 3"):
        ClassNamedItem(image=torch.rand(3, 4, 4), class_name=3)
    with pytest.raises(ValueError, match="class_name is empty"):
        ClassNamedItem(image=torch.rand(3, 4, 4), class_name=" ")
    with pytest.raises(TypeError, match="must be a list of strings"):
        ClassNamedBatch(image=torch.rand(2, 3, 4, 4), class_name="hazelnut")
    with pytest.raises(ValueError, match="map_std must have 3 axes"):
        ClassNamedBatch(image=torch.rand(2, 3, 4, 4), map_std=torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"score_std of a batch must have shape \(n,\)"):
        ClassNamedBatch(image=torch.rand(2, 3, 4, 4), score_std=torch.rand(2, 2))
