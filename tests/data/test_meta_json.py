"""`meta.json` trees: both styles, and what is refused."""

import json
from pathlib import Path

import pytest
from anomalib.data import ImageBatch

from anomalib_zsad.data.labelled_image import LabelledImage
from anomalib_zsad.data.listed_images import ListedImages
from anomalib_zsad.data.meta_json import MetaJson, MetaJsonDataset, MetaJsonError, read_meta_json
from tests.evaluation.evaluation_samples import write_image, write_meta, write_tree


def test_masks_that_are_files(tmp_path: Path) -> None:
    dataset = MetaJsonDataset(write_meta(tmp_path, ["bottle", "cable"]), ["cable"])
    items = [dataset[index] for index in range(len(dataset))]
    assert {item.class_name for item in items} == {"cable"}
    assert [int(item.gt_label) for item in items] == [0, 0, 0, 1, 1, 1]
    assert [int(item.gt_mask.sum()) for item in items] == [0, 0, 0, 64, 64, 64]


@pytest.mark.parametrize("style", ["empty", "directory", "absent file"])
def test_sets_without_masks(style: str, tmp_path: Path) -> None:
    dataset = MetaJsonDataset(write_meta(tmp_path, ["brain"], style))
    assert all(dataset[index].gt_mask is None for index in range(len(dataset)))
    assert dataset.task == "classification"


def test_folder_may_be_given_for_the_file(tmp_path: Path) -> None:
    write_meta(tmp_path, ["bottle"])
    assert len(MetaJsonDataset(tmp_path)) == 6


def test_placeholder_entries_of_the_train_split_are_passed_over(tmp_path: Path) -> None:
    assert read_meta_json(write_meta(tmp_path, ["bottle"]), "train") == {}


def test_some_missing_masks_are_an_error(tmp_path: Path) -> None:
    file = write_meta(tmp_path, ["bottle"])
    (tmp_path / "bottle/ground_truth/spot/001_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 mask files do not exist, the first is .*001_mask.png"):
        MetaJsonDataset(file)


def test_missing_image_is_an_error(tmp_path: Path) -> None:
    file = write_meta(tmp_path, ["bottle"])
    (tmp_path / "bottle/test/good/000.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 6 image files do not exist"):
        MetaJsonDataset(file)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*meta.json. Give a meta.json file"):
        read_meta_json(tmp_path)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "..\\secret.png"])
def test_paths_out_of_the_folder_are_refused(path: str, tmp_path: Path) -> None:
    file = tmp_path / "meta.json"
    file.write_text(json.dumps({"test": {"x": [{"img_path": path, "anomaly": 0}]}}))
    with pytest.raises(MetaJsonError, match="lies outside its folder"):
        read_meta_json(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON file"),
        ("[]", 'has no split "test"'),
        ('{"train": {}}', 'has no split "test"'),
        ('{"test": {"x": {}}}', '"x" in .* must hold a list of entries, got dict'),
        ('{"test": {"x": [{"img_path": "a.png"}]}}', r'an entry of "x" in .* needs img_path and anomaly'),
        (
            '{"test": {"x": [{"img_path": "a.png", "anomaly": 0, "cls_name": 5}]}}',
            'cls_name of an entry of "x" in .* must be a text, got 5',
        ),
        ('{"test": {"x": ["a.png"]}}', r'an entry of "x" in .* needs img_path and anomaly'),
    ],
)
def test_files_without_the_format_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(content)
    with pytest.raises(MetaJsonError, match=message):
        read_meta_json(tmp_path)


def test_unknown_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no class 'cabel' in its split 'test'; it has bottle, cable"):
        MetaJsonDataset(write_meta(tmp_path, ["bottle", "cable"]), ["cabel"])


def test_datamodule_gives_the_whole_test_split_and_class_names(tmp_path: Path) -> None:
    datamodule = MetaJson(write_meta(tmp_path, ["bottle", "cable"]), eval_batch_size=4, num_workers=0)
    datamodule.setup()
    batches = list(datamodule.test_dataloader())
    assert isinstance(batches[0], ImageBatch)
    assert sum(batch.batch_size for batch in batches) == 12
    assert {name for batch in batches for name in batch.class_name} == {"bottle", "cable"}
    assert len(datamodule.val_data) == len(datamodule.train_data) == 12


def test_dataset_needs_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        ListedImages([])
    image = write_image(tmp_path / "a.png", 10)
    assert ListedImages([LabelledImage(image, abnormal=True, class_name="x")])[0].gt_mask is None


def test_normal_images_only_give_empty_masks_nowhere(tmp_path: Path) -> None:
    """Without abnormal images there is no mask to speak of; the task is classification."""
    write_tree(tmp_path, ["bottle"], abnormal=0)
    images = sorted((tmp_path / "bottle").rglob("*.png"))
    dataset = ListedImages([LabelledImage(path, abnormal=False, class_name="bottle") for path in images])
    assert dataset.task == "classification"
