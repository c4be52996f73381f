"""The auxiliary datamodule: what trains, validates and tests, under which names, and what is refused."""

import logging
import shutil
from types import SimpleNamespace

import pytest
import torch
from anomalib.data import AnomalibDataModule, MVTecAD
from anomalib.utils.path import generate_output_filename
from jsonargparse import ArgumentParser
from torch.utils.data import DistributedSampler

from anomalib_zsad.data import AuxiliaryDataModule, CategorySet, FolderTree
from anomalib_zsad.data.augmentation import BayesPFLAugmentation
from anomalib_zsad.data.auxiliary import held_out_by_default
from tests.data.conftest import write_image, write_mask, write_mvtec_category

CATEGORIES = ["bottle", "cable", "tile", "zipper"]


def auxiliary(root, dataset="MVTecAD", **changes):
    return AuxiliaryDataModule(dataset, root, **{"categories": CATEGORIES, "train_batch_size": 4, **changes})


def ready(datamodule):
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize("dataset", ["MVTecAD", "MVTecADDataset", "anomalib.data.BTech", "FolderTree"])
def test_trains_on_both_kinds_and_validates_on_held_out_categories(mvtec_root, tmp_path, dataset):
    root = mvtec_root
    if dataset.endswith("BTech"):  # another class with another layout
        root = tmp_path
        for name in CATEGORIES:
            write_image(root / name / "train" / "ok" / "0.bmp")
            for index in range(2):
                write_image(root / name / "test" / "ok" / f"{index}.bmp")
            for index in range(3):
                write_image(root / name / "test" / "ko" / f"{index}.bmp", 200)
                write_mask(root / name / "ground_truth" / "ko" / f"{index}.png")
    datamodule = ready(auxiliary(root, dataset))
    assert datamodule.auxiliary_categories == datamodule.train_data.class_names == ["bottle", "cable", "zipper"]
    assert datamodule.val_data.class_names == datamodule.test_data.class_names == ["tile"]
    batches = list(datamodule.train_dataloader())
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]
    labels = torch.cat([batch.gt_label for batch in batches])
    masks = torch.cat([batch.gt_mask for batch in batches])
    assert labels.sum() == 9
    assert torch.equal(masks.flatten(1).any(dim=1), labels)
    for batch in batches:
        for item in batch:
            assert f"/{item.class_name}/" in item.image_path


def test_the_target_tests_under_its_own_name(mvtec_root, target_root):
    target = MVTecAD(root=target_root, category="gear", num_workers=0)
    datamodule = ready(auxiliary(mvtec_root, target=target))
    assert datamodule.category == "gear"
    assert datamodule.name == "MVTecAD"
    (batch,) = datamodule.test_dataloader()
    assert batch.class_name == ["gear"] * 5
    assert batch.gt_label.sum() == 3
    assert datamodule.predict_dataloader().dataset is datamodule.test_data


def test_outputs_of_pooled_categories_have_different_paths(mvtec_root, target_root, tmp_path):
    target = FolderTree(target_root)
    for datamodule in (ready(auxiliary(mvtec_root, target=target)), ready(auxiliary(mvtec_root)), target):
        outputs = {
            generate_output_filename(path, tmp_path, datamodule.name, datamodule.category)
            for path in datamodule.test_data.samples.image_path
        }
        assert len(outputs) == len(datamodule.test_data)


def test_the_default_choice_of_validation_categories():
    assert held_out_by_default(["b", "a"]) == ["b"]
    assert held_out_by_default(list("gfedcba")) == ["c"]
    assert held_out_by_default(list("abcdefghijkl")) == ["c", "h"]
    assert held_out_by_default(["a"]) == []


def test_validation_categories_and_class_names_can_be_chosen(mvtec_root):
    datamodule = ready(
        auxiliary(mvtec_root, validation_categories=["bottle", "cable"], class_names={"tile": "floor tile"})
    )
    assert datamodule.val_data.class_names == ["bottle", "cable"]
    assert datamodule.train_data.class_names == datamodule.auxiliary_categories == ["floor tile", "zipper"]


def test_all_categories_of_a_folder_are_found(mvtec_root):
    assert ready(auxiliary(mvtec_root, "FolderTree", categories=None)).auxiliary_categories == [
        "bottle",
        "cable",
        "zipper",
    ]
    assert len(auxiliary(mvtec_root, categories=None).auxiliary_categories) == 12  # MVTec AD lists 15


def test_a_single_category_holds_out_images(mvtec_root, caplog):
    with caplog.at_level(logging.INFO):
        datamodule = ready(auxiliary(mvtec_root, categories=["tile"]))
    assert "one category" in caplog.text
    assert len(datamodule.train_data) + len(datamodule.val_data) == 5
    assert not set(datamodule.train_data.samples.image_path) & set(datamodule.val_data.samples.image_path)
    again = ready(auxiliary(mvtec_root, categories=["tile"]))
    assert again.val_data.samples.equals(datamodule.val_data.samples)


def test_published_validation_looks_elsewhere_and_warns(mvtec_root, target_root, caplog):
    other = CategorySet("FolderTree", target_root, ["gear"])
    datamodule = ready(
        auxiliary(mvtec_root, target=FolderTree(target_root), validation="published", validation_set=other)
    )
    assert datamodule.train_data.class_names == CATEGORIES
    assert datamodule.val_data.class_names == ["gear"]
    assert "figures on it come out too good" in caplog.text


def test_overlap_with_the_target_is_an_error_that_names_it(mvtec_root, target_root, tmp_path):
    with pytest.raises(ValueError, match=r"among the target's: bottle\. A zero-shot model must not"):
        ready(auxiliary(mvtec_root, target=MVTecAD(root=mvtec_root, category="bottle", num_workers=0)))
    write_mvtec_category(tmp_path / "Zipper")
    write_mvtec_category(tmp_path / "til_e")
    with pytest.raises(ValueError, match="among the target's: tile, zipper"):  # held-out ones count too
        ready(auxiliary(mvtec_root, target=FolderTree(tmp_path)))
    renamed = FolderTree(mvtec_root, categories=["cable"], class_names={"cable": "wire"})
    with pytest.raises(ValueError, match="5 images are both trained on and tested on"):
        ready(auxiliary(mvtec_root, target=renamed))


def test_what_cannot_be_learned_from_is_refused(tmp_path, caplog):
    for name in ("gear", "lens"):
        write_image(tmp_path / name / "good" / "0.png")
    with pytest.raises(ValueError, match="no anomalous images"):
        ready(auxiliary(tmp_path, "FolderTree", categories=None))
    for name in ("gear", "lens"):
        write_image(tmp_path / name / "crack" / "0.jpg")
    with pytest.raises(ValueError, match=r"1 anomalous images to train on have no mask, the first is .*gear/crack/0"):
        ready(auxiliary(tmp_path, "FolderTree", categories=None))
    for name in ("gear", "lens"):
        write_mask(tmp_path / name / "crack" / "0.png")
        shutil.rmtree(tmp_path / name / "good")
    ready(auxiliary(tmp_path, "FolderTree", categories=None))
    assert "have no normal images" in caplog.text


def test_wrong_arguments_are_refused(mvtec_root):
    cases = [
        ({"validation_categories": ["gear"]}, r"\['gear'\] are not among the categories"),
        ({"validation_categories": CATEGORIES}, "none are left to train on"),
        ({"categories": ["absent"]}, "category 'absent' of MVTecAD in .* cannot be read"),
        ({"categories": []}, "list of categories of MVTecAD is empty"),
        ({"categories": ["tile", "tile"]}, r"named twice: \['tile'\]"),
        ({"dataset": "NoSuchSet"}, "'NoSuchSet' is no data set of anomalib"),
        ({"dataset": "no_such_package.Set"}, "'no_such_package.Set' is no class path"),
        ({"dataset": "Folder"}, "cannot be read"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            auxiliary(mvtec_root, **changes).setup()
    with pytest.raises(ValueError, match=r"mosaic_probability must be in \[0, 1\]"):
        auxiliary(mvtec_root, mosaic_probability=-1)
    with pytest.raises(ValueError, match=r"validation_categories are \['tile'\], and validation is 'published'"):
        auxiliary(mvtec_root, validation_categories=["tile"], validation="published")
    with pytest.raises(ValueError, match="validation must be one of held_out, published, got 'all'"):
        auxiliary(mvtec_root, validation="all")
    with pytest.raises(ValueError, match="set validation to 'published'"):
        auxiliary(mvtec_root, validation_set=CategorySet("Visa"))
    with pytest.raises(ValueError, match="validation_set is BTech, of which no categories are published"):
        auxiliary(mvtec_root, validation="published", validation_set=CategorySet("BTech"))


@pytest.mark.parametrize(
    ("dataset", "other", "categories"),
    [
        ("MVTecAD", "Visa", ["chewinggum", "cashew", "pipe_fryum", "capsules", "candle"]),
        ("Visa", "MVTecAD", ["bottle", "hazelnut", "wood", "zipper", "leather"]),
    ],
)
def test_the_published_validation_is_five_categories_of_the_other_benchmark(dataset, other, categories):
    chosen = AuxiliaryDataModule(dataset, validation="published").validation_set
    assert (chosen.dataset, chosen.categories) == (other, categories)


def test_an_empty_list_holds_nothing_out(mvtec_root, target_root, caplog):
    caplog.set_level("INFO")
    datamodule = ready(auxiliary(mvtec_root, categories=["tile"], validation_categories=[]))
    assert datamodule.train_data.class_names == ["tile"]
    assert len(datamodule.train_data) == 5
    assert datamodule.val_dataloader() == datamodule.test_dataloader() == []
    assert "a fifth of its images" not in caplog.text
    targeted = ready(auxiliary(mvtec_root, validation_categories=[], target=FolderTree(target_root)))
    assert targeted.train_data.class_names == CATEGORIES
    assert targeted.val_dataloader() == []
    assert len(targeted.test_dataloader())


def batches_of(datamodule, epoch, workers=0):
    datamodule.num_workers = workers
    loader = datamodule.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [(batch.image_path, batch.image) for batch in loader]


def same(first, second):
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


def test_order_and_augmentation_depend_on_seed_and_epoch_alone(mvtec_root):
    options = {"train_augmentations": BayesPFLAugmentation(), "mosaic_probability": 0.4}
    datamodule = ready(auxiliary(mvtec_root, **options))
    state = torch.random.get_rng_state()
    first = batches_of(datamodule, epoch=0)
    assert torch.equal(torch.random.get_rng_state(), state)  # no other draw notices
    torch.manual_seed(99)
    assert same(first, batches_of(datamodule, epoch=0, workers=2))
    assert same(first, batches_of(ready(auxiliary(mvtec_root, **options)), epoch=0))
    second = batches_of(datamodule, epoch=1)
    assert not same(first, second)
    assert not same(first, batches_of(ready(auxiliary(mvtec_root, seed=1, **options)), epoch=0))
    # without set_epoch, iterations count as epochs
    loader = datamodule.train_dataloader()
    assert same(first, [(batch.image_path, batch.image) for batch in loader])
    assert same(second, [(batch.image_path, batch.image) for batch in loader])


def test_a_config_file_and_a_command_line_build_it(mvtec_root, target_root, tmp_path):
    parser = ArgumentParser()
    parser.add_subclass_arguments(AnomalibDataModule, "data", fail_untyped=False)
    arguments = [
        "--data=AuxiliaryDataModule",
        "--data.dataset=FolderTree",
        f"--data.root={mvtec_root}",
        "--data.categories=[tile, zipper, cable]",
        "--data.dataset_arguments={mask_threshold: 10}",
        "--data.train_augmentations=anomalib_zsad.data.augmentation.BayesPFLAugmentation",
        "--data.validation=published",
        f"--data.validation_set={{dataset: FolderTree, root: {target_root}, categories: [lens]}}",
        "--data.target=FolderTree",
        f"--data.target.root={target_root}",
        "--data.target.categories=[gear]",
    ]
    parsed = parser.parse_args(arguments)
    (tmp_path / "data.yaml").write_text(parser.dump(parsed))
    for config in (parsed, parser.parse_path(tmp_path / "data.yaml")):
        datamodule = ready(parser.instantiate_classes(config).data)
        assert isinstance(datamodule.train_augmentations, BayesPFLAugmentation)
        assert datamodule.train_data.class_names == ["cable", "tile", "zipper"]
        assert datamodule.val_data.class_names == ["lens"]
        assert datamodule.test_data.class_names == ["gear"]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("Visa", "Visa"), ("VisaDataset", "Visa"), ("anomalib.data.MVTecAD", "MVTecAD"), ("FolderTree", None)],
)
def test_the_auxiliary_set_has_a_name_if_it_is_one_of_anomalibs(mvtec_root, dataset, name):
    assert AuxiliaryDataModule(dataset, mvtec_root).auxiliary_set == name


@pytest.mark.parametrize("processes", [2, 100])
def test_processes_share_the_images_to_evaluate_and_repeat_none(mvtec_root, processes):
    datamodule = ready(auxiliary(mvtec_root))
    count, seen = len(datamodule.val_data), []
    for rank in range(processes):
        datamodule.trainer = SimpleNamespace(distributed_sampler_kwargs={"num_replicas": processes, "rank": rank})
        for loader in (datamodule.val_dataloader(), datamodule.test_dataloader()):
            # Lightning splits what is not split yet.
            assert isinstance(loader.sampler, DistributedSampler) == (processes <= count)
        seen += list(datamodule.val_dataloader().sampler)
    assert sorted(seen) == sorted([*range(count)] * (1 if processes <= count else processes))


def test_mappings_build_it_as_get_datamodule_gives_them(mvtec_root, target_root):
    datamodule = ready(
        auxiliary(
            mvtec_root,
            target={"class_path": "MVTecAD", "init_args": {"root": str(target_root), "category": "lens"}},
            validation="published",
            validation_set={"dataset": "FolderTree", "root": str(target_root), "categories": ["gear"]},
        )
    )
    assert datamodule.test_data.class_names == ["lens"]
    assert datamodule.val_data.class_names == ["gear"]
