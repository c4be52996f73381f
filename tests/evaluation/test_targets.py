"""What can be evaluated on, and under which name."""

from pathlib import Path

import numpy as np
import pytest

from anomalib_zsad.data.set_names import AuxiliarySet, canonical_name
from anomalib_zsad.evaluation.targets import Target, parse_target
from tests.evaluation.evaluation_samples import write_image, write_mask, write_meta, write_tree

MVTEC_CATEGORIES = 15


def labels_of(target: Target, index: int = 0) -> list[int]:
    dataset = target.categories[index].load()
    return [int(dataset[position].gt_label) for position in range(len(dataset))]


def test_folder_of_categories(tmp_path: Path) -> None:
    target = parse_target(str(write_tree(tmp_path / "parts", ["bolt", "nut"])))
    assert target.name == "parts"
    assert [category.name for category in target.categories] == ["bolt", "nut"]
    assert sorted(labels_of(target, 1)) == [0, 0, 0, 1, 1, 1]
    assert target.categories[1].load()[0].class_name == "nut"


def test_folder_that_is_one_category(tmp_path: Path) -> None:
    write_image(tmp_path / "tiles" / "good" / "0.png", 50)
    write_image(tmp_path / "tiles" / "cracked" / "0.png", 90)
    target = parse_target(str(tmp_path / "tiles"))
    assert [category.name for category in target.categories] == ["tiles"]
    assert sorted(labels_of(target)) == [0, 1]


def test_meta_json_file_tells_the_set_by_its_name(tmp_path: Path) -> None:
    target = parse_target(str(write_meta(tmp_path, ["bottle"], name="meta_mvtec.json")))
    assert target.name == "MVTecAD"
    assert labels_of(target) == [0, 0, 0, 1, 1, 1]


def test_folder_with_meta_json_is_named_for_the_folder(tmp_path: Path) -> None:
    write_meta(tmp_path / "BTAD", ["01"])
    assert parse_target(str(tmp_path / "BTAD")).name == "BTAD"


def test_name_can_be_given(tmp_path: Path) -> None:
    target = parse_target(f"VisA={write_meta(tmp_path, ['candle'])}")
    assert target.name == "VisA"
    assert target.source.endswith("meta.json")


def test_datamodule_of_anomalib_by_name(tmp_path: Path) -> None:
    root = write_tree(tmp_path, ["bottle"])
    target = parse_target(f"MVTecAD:{root}")
    assert len(target.categories) == MVTEC_CATEGORIES
    chosen = target.restricted_to(["bottle"])
    dataset = chosen.categories[0].load()
    assert sorted(int(dataset[index].gt_label) for index in range(len(dataset))) == [0, 0, 0, 1, 1, 1]
    assert dataset[0].class_name == "bottle"
    assert not dataset.samples.mask_path.isna().all()


def test_absent_category_is_an_error_and_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import anomalib.data.datamodules.image.mvtecad as module

    monkeypatch.setattr(module, "download_and_extract", lambda *_: pytest.fail("downloaded"))
    target = parse_target(f"MVTecAD:{write_tree(tmp_path, ['bottle'])}")
    with pytest.raises((FileNotFoundError, RuntimeError)):
        target.restricted_to(["cable"]).categories[0].load()


def test_bmad_with_and_without_masks(tmp_path: Path) -> None:
    for index in range(2):
        write_image(tmp_path / "Brain/test/good/img" / f"{index}.png", 50)
        write_image(tmp_path / "Brain/test/Ungood/img" / f"{index}.png", 50, 200)
        write_mask(tmp_path / "Brain/test/Ungood/label" / f"{index}.png")
        write_image(tmp_path / "Chest/test/good" / f"{index}.png", 50)
        write_image(tmp_path / "Chest/test/Ungood" / f"{index}.png", 50, 200)
    target = parse_target(f"BMAD:{tmp_path}").restricted_to(["Brain", "Chest"])
    brain, chest = (category.load() for category in target.categories)
    assert sum(int(brain[index].gt_mask.sum()) for index in range(4)) == 128
    assert [chest[index].gt_mask for index in range(4)] == [None] * 4
    assert sorted(int(chest[index].gt_label) for index in range(4)) == [0, 0, 1, 1]


def test_visa_that_was_not_converted_is_refused_with_the_remedy(tmp_path: Path) -> None:
    target = parse_target(f"Visa:{tmp_path}")
    assert target.name == "VisA"
    with pytest.raises(FileNotFoundError, match=r"anomalib makes it .* by Visa\(root=...\).prepare_data\(\)"):
        target.categories[0].load()


def test_unknown_datamodule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'MVTek' is no data set of anomalib"):
        parse_target(f"MVTek:{tmp_path}")


def test_datamodule_that_needs_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Folder needs more than a root \(name, normal_dir"):
        parse_target(f"Folder:{tmp_path}")


def test_further_arguments_of_a_class(tmp_path: Path) -> None:
    write_image(tmp_path / "tiles" / "fine" / "0.png", 50)
    write_image(tmp_path / "tiles" / "cracked" / "0.png", 90)
    target = parse_target(f'FolderTree:{tmp_path / "tiles"}?normal_names=["fine"]&class_name=ceramic tile')
    assert target.name == "tiles"
    assert [category.name for category in target.categories] == ["tiles"]
    assert sorted(labels_of(target)) == [0, 1]
    assert target.categories[0].load()[0].class_name == "ceramic tile"


def test_argument_that_a_class_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MVTecAD has no argument colour; it has root, category"):
        parse_target(f"MVTecAD:{tmp_path}?colour=red")
    with pytest.raises(ValueError, match="'red' is no KEY=VALUE"):
        parse_target(f"MVTecAD:{tmp_path}?red")


def test_volumes_are_evaluated_slice_by_slice(tmp_path: Path) -> None:
    """Eight slices of noise, two of them with a lesion; the temporary slices stay while they are read."""
    import nibabel

    generator = np.random.default_rng(0)
    volume = generator.normal(100, 20, (16, 16, 8)).astype(np.float32)
    mask = np.zeros((16, 16, 8), dtype=np.uint8)
    mask[4:8, 4:8, 2:4] = 1
    for folder, data in (("images", volume), ("masks", mask)):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "scans" / folder / "a.nii.gz")
    target = parse_target(
        f"anomalib_zsad.volumes.datasets.datamodule.VolumeDataModule:{tmp_path / 'scans'}?class_name=brain"
    )
    assert target.name == "scans"
    assert target.categories[0].name == "brain"
    dataset = target.categories[0].load()
    items = [dataset[index] for index in range(len(dataset))]
    assert sum(int(item.gt_label) for item in items) == 2
    assert items[0].class_name == "brain"


def test_absent_root_and_absent_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is downloaded here"):
        parse_target(f"MVTecAD:{tmp_path / 'none'}")
    with pytest.raises(FileNotFoundError, match=r"there is no .*none. Give a folder"):
        parse_target(str(tmp_path / "none"))


def test_unknown_category_is_refused(tmp_path: Path) -> None:
    target = parse_target(str(write_tree(tmp_path / "parts", ["bolt"])))
    with pytest.raises(ValueError, match="parts has no category nut; it has bolt"):
        target.restricted_to(["nut"])


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("mvtec", "MVTecAD"), ("MVTec-AD", "MVTecAD"), ("Visa", "VisA"), ("BTech", "BTAD"), ("our_set", "our_set")],
)
def test_known_sets_have_one_name(spelling: str, name: str) -> None:
    assert canonical_name(spelling) == name


def test_overlap_with_what_was_trained_on() -> None:
    assert AuxiliarySet("VisA").overlap("visa", ["candle", "fryum"]) == ["candle", "fryum"]
    assert AuxiliarySet("VisA", ("candle",)).overlap("VisA", ["candle", "fryum"]) == ["candle"]
    assert AuxiliarySet("VisA").overlap("MVTecAD", ["bottle"]) == []
    assert AuxiliarySet(None, ("Metal nut",)).overlap("MVTecAD", ["metal_nut", "pill"]) == ["metal_nut"]
    assert AuxiliarySet().overlap("MVTecAD", ["pill"]) == []
