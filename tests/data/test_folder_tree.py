"""Folder trees: the layouts, the labels, the masks, and what is refused."""

import pytest
from anomalib import TaskType
from anomalib.data.utils import LabelName
from PIL import Image

from anomalib_zsad.data import FolderTree, FolderTreeDataset
from anomalib_zsad.data.folder_layout import find_categories, find_labelled_images
from tests.data.conftest import write_image, write_mask, write_mvtec_category


def masks_of(samples):
    return {f"{sample.kind}/{sample.image_path.name}": sample.mask_path and sample.mask_path.name for sample in samples}


def test_mvtec_layout(mvtec_root):
    assert find_categories(mvtec_root) == ["bottle", "cable", "tile", "zipper"]
    samples = find_labelled_images(mvtec_root / "tile")
    assert [sample.split for sample in samples] == ["test"] * 5 + ["train"]
    assert masks_of(samples)["crack/001.png"] == "001_mask.png"
    assert len(FolderTreeDataset(mvtec_root, "tile", split="test")) == 5
    assert len(FolderTreeDataset(mvtec_root, "tile")) == 6


def test_plain_layout_with_a_folder_of_masks(tmp_path):
    category = tmp_path / "gear"
    write_image(category / "good" / "000.png")
    write_image(category / "dent" / "000.jpg")
    write_image(category / "crack" / "001.jpg")
    write_mask(category / "masks" / "dent" / "000.png")
    write_mask(category / "masks" / "crack" / "001_mask.png")
    samples = find_labelled_images(category)
    assert masks_of(samples) == {"good/000.png": None, "dent/000.jpg": "000.png", "crack/001.jpg": "001_mask.png"}
    assert [sample.abnormal for sample in samples] == [True, True, False]


def test_plain_layout_with_masks_beside_the_images(tmp_path):
    category = tmp_path / "gear"
    write_image(category / "OK" / "a.png")
    write_image(category / "dent" / "a.png")
    write_mask(category / "dent" / "a_mask.png")
    write_image(category / "crack" / "b.JPG")
    write_mask(category / "crack" / "b.png")
    write_image(category / "crack" / ".hidden.png")
    samples = find_labelled_images(category)
    assert masks_of(samples) == {"OK/a.png": None, "dent/a.png": "a_mask.png", "crack/b.JPG": "b.png"}
    assert [sample.abnormal for sample in samples if sample.kind == "OK"] == [False]


def test_images_and_masks_layout_takes_labels_from_the_masks(tmp_path):
    category = tmp_path / "steel"
    for name, value in (("a", 0), ("b", 2)):
        write_image(category / "images" / f"{name}.jpg")
        write_mask(category / "masks" / f"{name}.png", value)
    dataset = FolderTreeDataset(tmp_path, "steel", mask_threshold=0)
    assert dataset.samples.label_index.tolist() == [LabelName.NORMAL, LabelName.ABNORMAL]
    assert dataset[1].gt_mask.float().mean() == 0.25
    write_image(category / "images" / "c.jpg")
    with pytest.raises(ValueError, match=r"c\.jpg has no mask in .*give an empty one for a normal image"):
        FolderTreeDataset(tmp_path, "steel", mask_threshold=0)


def test_a_root_that_is_itself_a_category_is_called_by_its_folder(tmp_path):
    write_image(tmp_path / "gear" / "good" / "0.png")
    tree = FolderTree(tmp_path / "gear")
    tree.setup()
    assert tree.test_data.class_names == ["gear"]
    named = FolderTree(tmp_path / "gear", class_names={"gear": "cog wheel"})
    named.setup()
    assert named.test_data.class_names == ["cog wheel"]


def test_all_categories_are_tested_together(mvtec_root):
    tree = FolderTree(mvtec_root, eval_batch_size=20)
    tree.setup()
    (batch,) = tree.test_dataloader()
    assert sorted(set(batch.class_name)) == ["bottle", "cable", "tile", "zipper"]
    assert batch.gt_mask.shape == (20, 12, 16)
    assert len(tree.val_data) == 20
    assert len(tree.train_data) == 4
    assert next(iter(tree.train_dataloader())).gt_label.tolist() == [False] * 4
    assert tree.task == TaskType.SEGMENTATION
    some = FolderTree(mvtec_root, categories=["tile"])
    some.setup()
    assert some.test_data.class_names == ["tile"]


@pytest.mark.parametrize(("normal", "anomalous"), [(3, 0), (0, 3)])
def test_only_normal_or_only_anomalous_images_work(tmp_path, normal, anomalous):
    write_mvtec_category(tmp_path / "gear", normal, anomalous)
    tree = FolderTree(tmp_path)
    tree.setup()
    (batch,) = tree.test_dataloader()
    assert batch.gt_label.tolist() == [bool(anomalous)] * 3
    (batch,) = tree.val_dataloader()
    assert len(batch) == 3


def test_images_without_any_masks_are_for_classification(tmp_path):
    write_image(tmp_path / "normal" / "0.png")
    write_image(tmp_path / "haemorrhage" / "1.png")
    tree = FolderTree(tmp_path)
    tree.setup()
    assert tree.task == TaskType.CLASSIFICATION
    (batch,) = tree.test_dataloader()
    assert batch.gt_mask is None
    assert batch.gt_label.tolist() == [True, False]


def test_refusals(tmp_path):
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty holds no images in a layout that is understood"):
        FolderTree(tmp_path / "empty").setup()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        FolderTree(tmp_path / "absent").setup()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent"):
        FolderTreeDataset(tmp_path, "absent")
    with pytest.raises(ValueError, match="empty holds no images"):
        FolderTreeDataset(tmp_path, "empty")
    write_image(tmp_path / "gear" / "crack" / "0.jpg")
    write_image(tmp_path / "gear" / "crack" / "1.jpg")
    write_mask(tmp_path / "gear" / "crack" / "0.png")
    with pytest.raises(ValueError, match=r"1 of 2 anomalous images in .*gear have no mask, the first is .*1\.jpg"):
        FolderTree(tmp_path, categories=["gear"]).setup()
    (tmp_path / "gear" / "crack" / "1.jpg").unlink()
    tree = FolderTree(tmp_path, categories=["gear"])
    tree.setup()
    with pytest.raises(ValueError, match=r"has no training images .*AuxiliaryDataModule"):
        tree.train_dataloader()
    with pytest.raises(ValueError, match=r"class_names has \['cog'\], but the categories are \['gear'\]"):
        FolderTree(tmp_path, categories=["gear"], class_names={"cog": "x"}).setup()
    with pytest.raises(ValueError, match="categories is empty"):
        FolderTree(tmp_path, categories=[])
    with pytest.raises(ValueError, match="val_split_mode must be"):
        FolderTree(tmp_path, val_split_mode="from_test")


def test_a_damaged_image_is_named_when_it_is_read(tmp_path):
    write_image(tmp_path / "good" / "0.png")
    (tmp_path / "good" / "1.png").write_bytes(b"damaged")
    tree = FolderTree(tmp_path)
    tree.setup()
    with pytest.raises(ValueError, match=r"1\.png cannot be read as an image"):
        list(tree.test_dataloader())


def test_real_surfaces_with_their_quirks(shared_data):
    tiles = FolderTree(shared_data / "magnetic_tile", normal_names=["MT_Free"])
    tiles.setup()
    assert tiles.test_data.samples.label_index.value_counts().to_dict() == {1: 150, 0: 60}
    crack = next(item for item in tiles.test_data if "MT_Crack" in item.image_path)
    with Image.open(crack.mask_path) as mask:
        assert 0 < crack.gt_mask.float().mean() < 0.5
        assert any(0 < value < 5 for _, value in mask.getcolors())  # values that are not marks
    steel = FolderTree(shared_data / "neu_steel", mask_threshold=0)
    steel.setup()
    assert not steel.test_data.has_normal
    assert steel.test_data[0].gt_mask.any()
    with pytest.raises(ValueError, match="marks no pixel above 127: its largest value is"):
        FolderTree(shared_data / "neu_steel").setup()
