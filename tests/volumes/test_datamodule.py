"""Volumes as slices in anomalib's pipelines: layouts, masks on the image's grid, splits by patient."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from anomalib import TaskType
from anomalib.data import AnomalibDataModule
from jsonargparse import ArgumentParser

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.data.items import ClassNamedBatch
from anomalib_zsad.demo.phantoms import make_phantom, write_phantom
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes import VolumeDataModule
from anomalib_zsad.volumes.datasets.datamodule import slice_identity, split_by_patient
from anomalib_zsad.volumes.datasets.layouts import Case, LayoutOptions, find_cases
from anomalib_zsad.volumes.datasets.masks import onto_grid, read_masks
from anomalib_zsad.volumes.volume import Volume
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import MARK, SHAPE, affines, marked_voxels, only, write_nifti, write_series

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "medical"


def lesion_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[MARK] = 1
    return mask


def write_plain(root: Path, count: int = 1) -> Path:
    for number in range(count):
        write_nifti(root / "images" / f"case{number}.nii.gz", marked_voxels(), affines()["las"])
        write_nifti(root / "masks" / f"case{number}.nii.gz", lesion_mask(), affines()["las"])
    return root


def ready(root: Path, **options: object) -> VolumeDataModule:
    datamodule = VolumeDataModule(root, **options)
    datamodule.setup()
    return datamodule


def marked_pixels(datamodule: VolumeDataModule) -> list[tuple[str, int, tuple[int, ...]]]:
    """(volume, slice, pixel) of every mask pixel, each of which must be the brightest of its image."""
    found = []
    for item in datamodule.test_data:
        if item.gt_label == 1:
            pixel = tuple(int(i) for i in np.unravel_index(int(item.gt_mask.float().argmax()), item.gt_mask.shape))
            assert item.gt_mask.sum() == 1
            assert item.image[0][pixel] == item.image.max()
            found.append((*slice_identity(item.image_path), pixel))
    return found


def test_plain_folder(tmp_path: Path) -> None:
    datamodule = ready(write_plain(tmp_path), class_name="brain", window="900/450")
    assert len(datamodule.test_data) == SHAPE[2]
    assert datamodule.task == TaskType.SEGMENTATION
    ((volume, index, _),) = marked_pixels(datamodule)
    assert (volume, index) == ("case0", MARK[2])
    item = datamodule.test_data[0]
    assert item.class_name == "brain"
    assert item.image.shape == (3, 10, 12)
    assert set(datamodule.test_data.samples.columns) >= {"volume", "slice", "patient"}
    batch = next(iter(datamodule.test_dataloader()))
    assert isinstance(batch, ClassNamedBatch)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_masks_lie_on_their_images_in_every_plane(tmp_path: Path, plane: str) -> None:
    assert len(marked_pixels(ready(write_plain(tmp_path), plane=plane, window="900/450"))) == 1


def test_patterns_pair_files_of_one_folder(tmp_path: Path) -> None:
    for number in (3, 4):
        write_nifti(tmp_path / f"p{number}_flair.nii.gz", marked_voxels(), affines()["las"])
        write_nifti(tmp_path / f"p{number}_lesions.nii.gz", lesion_mask(), affines()["las"])
        write_nifti(tmp_path / f"p{number}_t1.nii.gz", marked_voxels(), affines()["las"])
    options = LayoutOptions(images="*_flair.nii.gz", masks="*_lesions.nii.gz")
    assert [case.name for case in find_cases(tmp_path, options)] == ["p3", "p4"]
    assert all(case.masks[0].name == f"{case.name}_lesions.nii.gz" for case in find_cases(tmp_path, options))
    with pytest.raises(ValueError, match=r"needs exactly one \*"):
        find_cases(tmp_path, LayoutOptions(layout="folder", images="flair.nii.gz"))


def test_nnunet_layout(tmp_path: Path) -> None:
    write_nifti(tmp_path / "imagesTr" / "BRAIN_001_0000.nii.gz", marked_voxels(), affines()["las"])
    write_nifti(tmp_path / "imagesTr" / "BRAIN_001_0001.nii.gz", -marked_voxels(), affines()["las"])
    write_nifti(tmp_path / "labelsTr" / "BRAIN_001.nii.gz", lesion_mask(), affines()["las"])
    (tmp_path / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "FLAIR", "1": "CT"}, "file_ending": ".nii.gz", "labels": {"lesion": 1}})
    )
    (case,) = find_cases(tmp_path, LayoutOptions())
    assert (case.name, case.modality) == ("BRAIN_001", "MR")
    (other,) = find_cases(tmp_path, LayoutOptions(channel=1))
    assert (other.image.name, other.modality) == ("BRAIN_001_0001.nii.gz", "CT")
    assert len(marked_pixels(ready(tmp_path, window="900/450"))) == 1


def test_decathlon_layout(tmp_path: Path) -> None:
    both = np.stack([np.zeros(SHAPE, np.int16), marked_voxels()], -1)
    write_nifti(tmp_path / "imagesTr" / "BRATS_1.nii.gz", both, affines()["las"])
    write_nifti(tmp_path / "labelsTr" / "BRATS_1.nii.gz", lesion_mask() * 2, affines()["las"])
    description = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "training": [{"image": "./imagesTr/BRATS_1.nii.gz", "label": "./labelsTr/BRATS_1.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    datamodule = ready(tmp_path, channel=1, window="900/450", mask_labels=[2])
    assert len(marked_pixels(datamodule)) == 1
    assert not ready(tmp_path, channel=1, mask_labels=[1]).test_data.has_anomalous
    description["training"][0]["label"] = "../outside.nii.gz"
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(FileNotFoundError, match=r"names '\.\./outside\.nii\.gz'"):
        find_cases(tmp_path, LayoutOptions())


def test_dicom_tree_with_segmentations(tmp_path: Path) -> None:
    def name_patient(dataset, index):
        dataset.PatientID = "ZZSECRET"

    source = write_series(tmp_path / "tree" / "ct", edit=name_patient)
    options = ScreeningOptions(volume=VolumeOptions(window="900/450"), rule=DecisionRule("volumes", threshold=0.9))
    screen(source, tmp_path / "out", BrightSpotScorer(), options)
    (seg,) = (tmp_path / "out").rglob("lesions_seg.dcm")
    (tmp_path / "tree" / "seg").mkdir()
    seg.rename(tmp_path / "tree" / "seg" / "mask.dcm")
    datamodule = ready(tmp_path / "tree", window="900/450")
    ((_, index, _),) = marked_pixels(datamodule)
    assert index == MARK[2]
    assert "ZZSECRET" not in datamodule.test_data.samples.to_csv()


def test_series_in_folders_are_cases(tmp_path: Path) -> None:
    phantom = make_phantom("head_ct", 3, lesion=True)
    write_phantom(phantom, tmp_path, "one")
    samples = ready(tmp_path).test_data.samples
    by_slice = dict(zip(samples.slice, samples.label_index == 1, strict=True))
    expected = phantom.mask.any(axis=(0, 1))
    assert all(by_slice[index] == expected[index] for index in by_slice)


def test_shipped_samples(tmp_path: Path) -> None:
    for kind in ("head_ct", "brain_mr"):
        samples = ready(SAMPLES / kind, modality="auto").test_data.samples
        assert samples.volume.nunique() == 2
        abnormal = samples[samples.label_index == 1]
        assert set(abnormal.volume) == ({"bleed"} if kind == "head_ct" else {"lesion"})


def test_masks_in_another_order_of_axes_are_turned(volume: Volume) -> None:
    mask = lesion_mask()
    for order, flips in (((0, 1, 2), (0,)), ((2, 0, 1), (1, 2)), ((1, 2, 0), ())):
        turned = np.transpose(mask, order)
        change = np.eye(4)
        change[:3, :3] = np.eye(3)[:, list(order)]
        for axis in flips:
            turned = np.flip(turned, axis)
            change[:3, 3] += change[:3, axis] * (turned.shape[axis] - 1)
            change[:3, axis] *= -1
        np.testing.assert_array_equal(onto_grid(turned, volume.affine @ change, volume, "m"), mask)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return only(write_nifti(tmp_path / "volume.nii", marked_voxels(), affines()["oblique"]))


def test_masks_on_other_grids_are_refused(tmp_path: Path, volume: Volume) -> None:
    shifted = affines()["oblique"].copy()
    shifted[:3, 3] += 2
    write_nifti(tmp_path / "shifted.nii", lesion_mask(), shifted)
    with pytest.raises(ValueError, match="does not cover the image's grid"):
        read_masks([tmp_path / "shifted.nii"], volume)
    write_nifti(tmp_path / "other.nii", lesion_mask(), affines()["las"])
    with pytest.raises(ValueError, match="another grid than its image"):
        read_masks([tmp_path / "other.nii"], volume)


def test_case_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_plain(tmp_path)
    path = tmp_path / "images" / "case0.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="the case 'case0' cannot be used: the file is truncated"):
        ready(tmp_path)


def test_patients_stay_on_one_side() -> None:
    cases = [Case(f"p{p}_{scan}", Path("x"), patient=f"p{p}") for p in range(10) for scan in range(3)]
    parts = split_by_patient(cases, 0.5, 0.2, seed=1)
    sides = [{case.patient for case in part} for part in parts.values()]
    assert sorted(len(side) for side in sides) == [2, 3, 5]
    assert len(sides[0] | sides[1] | sides[2]) == 10
    assert split_by_patient(cases, 0.5, 0.2, seed=1) == parts
    with pytest.raises(ValueError, match="cannot be split"):
        split_by_patient(cases[:6], 0.5, 0.4, seed=0)


def test_patient_expression(tmp_path: Path) -> None:
    write_plain(tmp_path, 2)
    assert {case.patient for case in find_cases(tmp_path, LayoutOptions(patient="(case)"))} == {"case"}
    with pytest.raises(ValueError, match="finds no group in the case name 'case0'"):
        find_cases(tmp_path, LayoutOptions(patient="(subject)"))


def test_training_split(tmp_path: Path) -> None:
    datamodule = ready(write_plain(tmp_path, 4), train_share=0.5, val_share=0.25)
    tables = [getattr(datamodule, f"{part}_data").samples for part in ("train", "val", "test")]
    assert [table.patient.nunique() for table in tables] == [2, 1, 1]
    batch = next(iter(datamodule.train_dataloader()))
    assert batch.gt_mask is not None
    with pytest.raises(ValueError, match="give val_share as well"):
        VolumeDataModule(tmp_path, train_share=0.5)
    with pytest.raises(ValueError, match="leave some to test"):
        VolumeDataModule(tmp_path, train_share=0.8, val_share=0.2)


def test_unlabelled_volumes_can_be_predicted_on(tmp_path: Path) -> None:
    write_nifti(tmp_path / "images" / "a.nii.gz", marked_voxels(), affines()["las"])
    datamodule = ready(tmp_path)
    assert datamodule.task == TaskType.CLASSIFICATION
    assert datamodule.test_data[0].gt_label is None
    write_plain(tmp_path)
    assert set(ready(tmp_path).test_data.samples.volume) == {"case0"}


def test_slices_are_kept_for_later_runs_with_equal_options(tmp_path: Path) -> None:
    root = write_plain(tmp_path / "data")
    ready(root, cache_dir=tmp_path / "cache", window="900/450")
    stamp = (tmp_path / "cache" / "data" / "case0" / "slice_0000.png").stat().st_mtime_ns
    ready(root, cache_dir=tmp_path / "cache", window="900/450")
    assert (tmp_path / "cache" / "data" / "case0" / "slice_0000.png").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="other options or files"):
        ready(root, cache_dir=tmp_path / "cache", window="800/450")
    assert sorted(path.name for path in root.iterdir()) == ["images", "masks"]


def test_blank_slices_are_left_out(tmp_path: Path) -> None:
    voxels = marked_voxels()
    voxels[:, :, :2] = 0
    write_nifti(tmp_path / "images" / "a.nii.gz", voxels, affines()["las"])
    write_nifti(tmp_path / "masks" / "a.nii.gz", lesion_mask(), affines()["las"])
    assert len(ready(tmp_path, window="900/450").test_data) == 4
    assert len(ready(tmp_path, window="900/450", skip_blank=False).test_data) == 6


def test_neighbours_are_the_colour_channels(tmp_path: Path) -> None:
    datamodule = ready(write_plain(tmp_path), channels="neighbours", window="900/450")
    middle, after = datamodule.test_data[2].image, datamodule.test_data[3].image
    assert np.allclose(middle[2], after[1])
    assert not np.allclose(middle[0], middle[1])


def test_missing_roots_and_layouts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder"):
        ready(tmp_path / "none")
    write_nifti(tmp_path / "flat" / "v.nii.gz", marked_voxels(), affines()["las"])
    with pytest.raises(ValueError, match=r"no layout fits .* give images and masks as patterns"):
        ready(tmp_path / "flat")
    with pytest.raises(ValueError, match="no layout fits"):
        ready(tmp_path)
    with pytest.raises(ValueError, match="is not the file of a slice"):
        slice_identity("image.png")


def test_the_command_line_understands_it(tmp_path: Path) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(AnomalibDataModule, "data")
    config = parser.parse_args(
        ["--data=anomalib_zsad.volumes.VolumeDataModule", f"--data.root={tmp_path}", "--data.mask_labels=[1,2]"]
    )
    datamodule = parser.instantiate_classes(config).data
    assert isinstance(datamodule, VolumeDataModule)
    assert datamodule.slices.mask_labels == (1, 2)


def test_anomalib_tests_and_predicts_on_slices(tmp_path: Path) -> None:
    """With the demonstration backbone, untrained: the plumbing, not accuracy."""
    from anomalib.engine import Engine

    from anomalib_zsad import BayesPFL

    phantom = make_phantom("brain_mr", 3, lesion=True)
    middle = int(np.flatnonzero(phantom.mask.any(axis=(0, 1)))[0])
    part = (slice(None), slice(None), slice(middle - 2, middle + 2))
    write_nifti(tmp_path / "in" / "images" / "a.nii.gz", phantom.voxels[part], phantom.affine)
    write_nifti(tmp_path / "in" / "masks" / "a.nii.gz", phantom.mask[part].astype(np.uint8), phantom.affine)
    datamodule = VolumeDataModule(tmp_path / "in", modality="MR", class_name="brain", plane="axial", eval_batch_size=4)
    model = BayesPFL(backbone="demo", num_samples=1, visualizer=False)
    engine = Engine(default_root_dir=tmp_path / "out", accelerator="cpu", logger=False)
    (metrics,) = engine.test(model, datamodule=datamodule)
    assert {"image_AUROC", "pixel_AUROC"} <= set(metrics)
    batches = engine.predict(model, datamodule=datamodule)
    found = [slice_identity(path) for batch in batches for path in batch.image_path]
    assert found == [("a", index) for index in range(4)]
    assert batches[0].class_name == ["brain"] * 4


def test_real_lesions_lie_on_their_slices(shared_data: Path) -> None:
    datamodule = ready(
        shared_data / "ms_lesions_nifti",
        images="*_flair.nii.gz",
        masks="*_lesions.nii.gz",
        modality="MR",
        class_name="brain",
    )
    samples = datamodule.test_data.samples
    counts = samples[samples.label_index == 1].groupby("volume").size().to_dict()
    assert counts == {"patient07": 74, "patient19": 87}
    assert nibabel.load(shared_data / "ms_lesions_nifti" / "patient07_flair.nii.gz").shape[2] == 182
