"""Calibrating on images, and models that judge by such a calibration."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.calibration import Calibration, CalibrationMismatchError, TooFewNormalsError, image_fingerprint
from anomalib_zsad.data.appearance import appearance
from anomalib_zsad.data.folder_tree import FolderTree
from anomalib_zsad.data.image_files import read_image
from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem
from anomalib_zsad.data.prepared_images import UnreadableImageError
from anomalib_zsad.inspection.calibrate_images import calibrate_images, find_images, images_of_datamodule
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.models.components.post_processor import ZeroShotPostProcessor
from tests.calibration.calibrations import of_volumes
from tests.data.broken_pictures import png_whose_profile_is_cut_off
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE, engine, exported, images

RATE = 0.1


def picture(seed: int, *, spot: bool = False) -> np.ndarray:
    """Noise of a darkness of its own, with a dark spot or without."""
    random = np.random.default_rng(seed)
    pixels = random.integers(100, 255, (60, 60, 3)) * random.uniform(0.5, 1)
    if spot:
        pixels[10:40, 10:40] *= 0.2
    return pixels.astype(np.uint8)


def write(folder: Path, seeds: range, *, spot: bool = False) -> Path:
    """Pictures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Image.fromarray(picture(seed, spot=spot)).save(folder / f"{seed:03d}.png")
    return folder


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_backbone(tmp_path_factory.mktemp("clip"), 20, CLIP)


def build(kind: type, backbone: dict[str, str], **arguments: Any) -> Any:
    torch.manual_seed(0)
    options = {**backbone, "image_size": SIDE, "visualizer": False, "class_name": "bolt", **arguments}
    if kind is CoPS:
        options["extractor_heads"] = 4
    model = kind(**options).eval()
    if "checkpoint" not in arguments:
        for parameter in model.model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One category in the layout of MVTec AD: 25 normal images to train on, 15 and 10 abnormal ones to test."""
    root = tmp_path_factory.mktemp("data")
    write(root / "bolt" / "train" / "good", range(25))
    write(root / "bolt" / "test" / "good", range(25, 40))
    write(root / "bolt" / "test" / "spot", range(40, 50), spot=True)
    return root


@pytest.fixture(scope="session", params=[BayesPFL, CoPS])
def model(request: pytest.FixtureRequest, backbone: dict[str, str]) -> Any:
    return build(request.param, backbone)


@pytest.fixture(scope="session")
def calibration_file(model: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "bolt.json"
    calibrate_images(model, find_images(data / "bolt" / "train" / "good", "bolt")).save(path)
    return path


@pytest.fixture(scope="session")
def checkpoint(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's weights as a checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "model.ckpt"
    trainer = engine(path.parent)
    trainer._setup_trainer(model)
    trainer.trainer.strategy.connect(model)
    trainer.trainer.save_checkpoint(path)
    return path


# Where normal images are


def test_images_in_a_folder_are_normal(data: Path) -> None:
    found = find_images(data / "bolt" / "train" / "good", "bolt")
    assert (len(found.dataset), found.class_name, not found.left_out) == (25, "bolt", True)


def test_images_are_chosen_by_patterns_and_what_is_left_out_is_counted(data: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", range(5))
    for number in range(3):
        Image.fromarray(picture(9)).save(folder / f"{number:03d}_mask.png")
    (folder / "notes.txt").write_text("x")
    found = find_images(folder, "bolt", ImageReading(exclude=("*_mask.png",)))
    assert len(found.dataset) == 5
    assert (dict(found.left_out), dict(found.skipped)) == ({"left out by --include or --exclude": 3}, {".txt": 1})
    found = find_images(data / "bolt", "bolt", ImageReading(include=("train/*",)))
    assert len(found.dataset) == 25
    with pytest.raises(ValueError, match=r"no image in .* is asked for: 8 left out by --include or --exclude"):
        find_images(folder, "bolt", ImageReading(exclude=("*",)))


def test_large_and_turned_images(model: Any, tmp_path: Path) -> None:
    folder, exif = write(tmp_path / "in", range(20)), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(20)).save(folder / "020.png", exif=exif)
    images = find_images(folder, "bolt", ImageReading(max_pixels=3600))
    calibration = calibrate_images(model, images)
    assert images.turned == 1
    looks = [appearance(read_image(path)) for path in sorted(folder.glob("*.png"))]
    expected = np.mean([one.brightness for one in looks]), np.std([one.brightness for one in looks])
    assert calibration.figures["brightness"] == pytest.approx(expected, abs=1e-6)
    assert calibration.figures["sharpness"][0] == pytest.approx(np.mean([one.sharpness for one in looks]), abs=1e-6)
    with pytest.raises(UnreadableImageError, match="has 60 x 60 pixels, 3,600 in all, and no more than 3,599 are read"):
        calibrate_images(model, find_images(folder, "bolt", ImageReading(max_pixels=3599)))
    (folder / "021.png").write_bytes(png_whose_profile_is_cut_off())
    with pytest.raises(UnreadableImageError, match=r"021\.png cannot be read as an image \(IndexError"):
        calibrate_images(model, find_images(folder, "bolt"))


def test_of_a_category_the_normal_ones_are_taken(data: Path) -> None:
    for found in (find_images(data / "bolt", "bolt"), images_of_datamodule("FolderTree", data, "bolt")):
        assert (len(found.dataset), dict(found.left_out), found.class_name) == (40, {"abnormal": 10}, "bolt")


def test_a_datamodule_gives_normal_training_and_test_images(tmp_path: Path) -> None:
    write(tmp_path / "screw" / "train" / "good", range(4))
    write(tmp_path / "screw" / "test" / "good", range(4, 7))
    write(tmp_path / "screw" / "test" / "spot", range(7, 9), spot=True)
    write(tmp_path / "screw" / "ground_truth" / "spot", range(7, 9))
    found = images_of_datamodule("MVTecAD", tmp_path, "screw")
    assert (len(found.dataset), dict(found.left_out), found.class_name) == (7, {"abnormal": 2}, "screw")
    with pytest.raises(ValueError, match="MVTecAD has no category 'bolt'; it has bottle, cable"):
        images_of_datamodule("MVTecAD", tmp_path, "bolt")


def test_folders_where_nothing_says_what_is_normal_are_refused(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "one" / "camera1", range(3))
    with pytest.raises(ValueError, match=r"nothing says which images in .* are normal: put normal ones directly"):
        find_images(tmp_path / "one", "bolt")
    write(data.parent / "two" / "a" / "good", range(3))
    write(data.parent / "two" / "b" / "good", range(3))
    with pytest.raises(ValueError, match=r"several categories \(a, b\); calibrate each by itself"):
        find_images(data.parent / "two", "bolt")
    with pytest.raises(ValueError, match="has several categories; name one with --category: a, b"):
        images_of_datamodule("FolderTree", data.parent / "two")
    with pytest.raises(ValueError, match="has no category 'c'; it has a, b"):
        images_of_datamodule("FolderTree", data.parent / "two", "c")
    write(tmp_path / "three" / "a" / "test" / "spot", range(3))
    with pytest.raises(ValueError, match="FolderTree / a holds no normal images"):
        images_of_datamodule("FolderTree", tmp_path / "three", "a")


def test_too_few_images_are_an_error_and_copies_do_not_count(model: Any, tmp_path: Path) -> None:
    write(tmp_path, range(19))
    for number in range(5):
        (tmp_path / f"copy{number}.png").write_bytes((tmp_path / "003.png").read_bytes())
    with pytest.raises(TooFewNormalsError, match=r"19 normal images cannot calibrate; .* \(left out: the same file as"):
        calibrate_images(model, find_images(tmp_path, "bolt"))


def test_images_of_one_patient_are_one_unit(model: Any, data: Path) -> None:
    found = find_images(data / "bolt" / "train" / "good", "bolt")
    found.dataset.samples = found.dataset.samples.assign(patient=[f"p{index // 2}" for index in range(25)])
    with pytest.raises(TooFewNormalsError, match="25 normal images of 13 patients cannot calibrate"):
        calibrate_images(model, found)


# Use


def predicted(model: Any, data: Path, tmp_path: Path) -> list[Any]:
    return engine(tmp_path).predict(model, datamodule=FolderTree(data, categories=["bolt"], eval_batch_size=4))


def test_labels_masks_and_p_values_follow_the_calibration(
    model: Any, calibration_file: Path, data: Path, tmp_path: Path
) -> None:
    calibration, rate = Calibration.load(calibration_file), 0.4
    model.use_calibration(calibration_file, rate)
    try:
        batches = predicted(model, data, tmp_path)
    finally:
        model.use_calibration(None, rate)
        model.post_processor.use(None)
    scores, p_values, labels = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("pred_score", "p_value", "pred_label")
    )
    np.testing.assert_allclose(p_values, calibration.p_values("image", scores), atol=1e-7)
    np.testing.assert_array_equal(labels.numpy(), calibration.p_values("image", scores) <= rate)
    assert 0 < int(labels.sum()) < len(labels)
    for batch in batches:
        marked = batch.anomaly_map.reshape(len(batch.image), -1) >= calibration.threshold("mask", rate)
        np.testing.assert_array_equal(batch.pred_mask.reshape(len(batch.image), -1), marked)
        assert batch.items[0].p_value.shape == ()


def test_normal_images_score_in_prediction_as_they_did_in_calibration(
    model: Any, calibration_file: Path, data: Path, tmp_path: Path
) -> None:
    model.use_calibration(calibration_file, RATE)
    try:
        finding = model.examine(data / "bolt" / "train" / "good" / "003.png")
        test_score = model.examine(data / "bolt" / "test" / "spot" / "045.png")
        batches = predicted(model, data, tmp_path)
    finally:
        model.use_calibration(None, RATE)
        model.post_processor.use(None)
    known = np.array([unit[0] for unit in Calibration.load(calibration_file).scores["image"]])
    assert np.abs(known - finding.score).min() < 1e-5
    assert finding.flagged == (finding.p_value <= RATE)
    by_name = {
        Path(path).name: float(score)
        for batch in batches
        for path, score in zip(batch.image_path, batch.pred_score, strict=True)
    }
    assert by_name["045.png"] == pytest.approx(test_score.score, abs=1e-5)


def test_without_a_calibration_nothing_is_claimed(model: Any, data: Path, tmp_path: Path) -> None:
    batch = predicted(model, data, tmp_path)[0]
    assert batch.p_value is None
    finding = model.examine(data / "bolt" / "train" / "good" / "003.png")
    assert (finding.p_value, finding.flagged) == (None, None)


def test_another_class_is_refused(model: Any, calibration_file: Path, data: Path) -> None:
    model.use_calibration(calibration_file, RATE)
    try:
        with pytest.raises(CalibrationMismatchError, match="class_name was 'bolt' and is 'washer' now"):
            model.examine(data / "bolt" / "train" / "good" / "003.png", class_name="washer")
    finally:
        model.use_calibration(None, RATE)
        model.post_processor.use(None)


@pytest.mark.parametrize("change", [{"num_samples": 3}, {"blur_sigma": 1.0}])
def test_a_model_that_differs_is_refused_when_it_is_built(
    model: Any, backbone: dict[str, str], calibration_file: Path, checkpoint: Path, change: dict[str, Any]
) -> None:
    arguments = {"checkpoint": str(checkpoint), "calibration": str(calibration_file), "false_alarm_rate": RATE}
    fitting = build(type(model), backbone, **arguments)
    assert fitting.post_processor.calibrated is not None
    with pytest.raises(CalibrationMismatchError, match="the calibration does not fit: model"):
        build(type(model), backbone, **arguments, **change)


def test_weights_that_come_later_are_compared_when_they_are_there(
    model: Any, backbone: dict[str, str], calibration_file: Path, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    arguments = {"calibration": str(calibration_file), "false_alarm_rate": RATE, "num_samples": 10}
    torch.manual_seed(3)
    fresh = type(model)(
        **backbone, image_size=SIDE, visualizer=False, class_name="bolt",
        **({"extractor_heads": 4} if isinstance(model, CoPS) else {}), **arguments,
    )  # fmt: skip
    with pytest.raises(CalibrationMismatchError, match="weights_sha256 was"):
        predicted(fresh, data, tmp_path)
    with pytest.raises(CalibrationMismatchError, match="weights_sha256 was"), torch.no_grad():
        fresh.eval()(images(1))
    batches = engine(tmp_path).predict(
        fresh, datamodule=FolderTree(data, categories=["bolt"]), ckpt_path=checkpoint, return_predictions=True
    )
    assert batches[0].p_value is not None
    restored = type(model).load_from_checkpoint(
        checkpoint, visualizer=False, calibration=str(calibration_file), false_alarm_rate=RATE
    )
    with torch.no_grad():
        restored.eval()(images(1))
    assert restored.post_processor.calibrated is not None


def test_a_checkpoint_of_a_calibrated_model_needs_no_calibration(
    model: Any, calibration_file: Path, tmp_path: Path
) -> None:
    model.use_calibration(calibration_file, RATE)
    model.apply_calibration()
    run = engine(tmp_path)
    run._setup_trainer(model)
    run.trainer.strategy.connect(model)
    run.trainer.save_checkpoint(tmp_path / "model.ckpt")
    model.use_calibration(None, RATE)
    model.post_processor.use(None)
    restored = type(model).load_from_checkpoint(tmp_path / "model.ckpt", visualizer=False)
    assert restored.calibration is None
    assert restored.post_processor.calibrated is None
    assert torch.isnan(restored.post_processor.image_threshold)


def test_training_forgets_the_thresholds(model: Any, backbone: dict[str, str], calibration_file: Path) -> None:
    fresh = build(type(model), backbone)
    fresh.use_calibration(calibration_file, RATE)
    fresh.apply_calibration()
    loader = DataLoader(_Pairs(), batch_size=4, collate_fn=ClassNamedBatch.collate)
    run = engine(calibration_file.parent / type(model).__name__)
    run.fit(fresh, loader, loader)
    assert fresh.post_processor.calibrated is None
    with pytest.raises(CalibrationMismatchError, match="weights_sha256 was"):
        run.test(fresh, loader)


class _Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> ClassNamedItem:
        pixels = torch.from_numpy(picture(index, spot=bool(index % 2))).permute(2, 0, 1).float() / 255
        mask = torch.zeros(60, 60)
        mask[10:40, 10:40] = index % 2
        label = torch.tensor(index % 2)
        return ClassNamedItem(image=pixels, gt_mask=mask, gt_label=label, image_path=f"{index}.png", class_name="bolt")


@pytest.mark.parametrize("kind", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_exports_keep_the_calibrated_thresholds(model: Any, calibration_file: Path, tmp_path: Path, kind: str) -> None:
    inputs = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    model.use_calibration(calibration_file, RATE)
    try:
        path = engine(tmp_path).export(model, kind, export_root=tmp_path, input_size=(SIDE, SIDE))
        expected = model(inputs)
    finally:
        model.use_calibration(None, RATE)
        model.post_processor.use(None)
    scores, _ = exported(kind, path)(inputs)
    np.testing.assert_allclose(scores.reshape(-1), expected.pred_score.detach(), atol=1e-4)
    threshold = Calibration.load(calibration_file).threshold("image", RATE)
    np.testing.assert_array_equal(expected.pred_label, expected.pred_score.detach().numpy() >= np.float32(threshold))
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        labels = session.run(["pred_label"], {session.get_inputs()[0].name: inputs.numpy()})[0]
        np.testing.assert_array_equal(labels.reshape(-1), scores.reshape(-1) >= np.float32(threshold))


# Fingerprints


CONSTANTS: list[tuple[type, dict[str, Any]]] = [
    (BayesPFL, {"num_samples": 3}),
    (BayesPFL, {"map_weight": 0.4}),
    (BayesPFL, {"top_k": 7}),
    (BayesPFL, {"blur_sigma": 1.0}),
    (BayesPFL, {"image_size": 42}),
    (BayesPFL, {"layers": (1, 3)}),
    (CoPS, {"num_samples": 3}),
    (CoPS, {"neighbourhood": 1}),
    (CoPS, {"alpha": 0.5}),
    (CoPS, {"beta": 0.5}),
    (CoPS, {"blur_sigma": 1.0}),
]


@pytest.mark.parametrize(("kind", "change"), CONSTANTS)
def test_every_constant_of_a_model_is_in_its_fingerprint(
    kind: type, change: dict[str, Any], backbone: dict[str, str]
) -> None:
    own = image_fingerprint(build(kind, backbone), "bolt")
    assert own == image_fingerprint(build(kind, backbone), "bolt")
    assert own != image_fingerprint(build(kind, backbone, **change), "bolt")
    assert own != image_fingerprint(build(kind, backbone), "washer")


@pytest.mark.parametrize("kind", [BayesPFL, CoPS])
def test_every_weight_and_the_stage_are_in_the_fingerprint(kind: type, backbone: dict[str, str]) -> None:
    model = build(kind, backbone)
    own = image_fingerprint(model, "bolt")
    for name, parameter in model.model.named_parameters():
        value = parameter.data.flatten()[-1].item()
        parameter.data.view(-1)[-1] += 1e-3
        assert image_fingerprint(model, "bolt") != own, name
        parameter.data.view(-1)[-1] = value
    assert image_fingerprint(model, "bolt") == own
    if kind is BayesPFL:
        model.model.stage = 2
        assert image_fingerprint(model, "bolt") != own


def test_a_moved_backbone_file_is_the_same_backbone(backbone: dict[str, str], tmp_path: Path) -> None:
    moved = {name: str(shutil.copy(path, tmp_path)) for name, path in backbone.items()}
    own = image_fingerprint(build(BayesPFL, backbone), "bolt")
    assert image_fingerprint(build(BayesPFL, moved), "bolt") == own
    assert not any(str(tmp_path.parent) in str(value) for value in own.values())


# What cannot be


def test_a_calibration_of_volumes_is_refused(model: Any, tmp_path: Path) -> None:
    of_volumes().save(tmp_path / "c.json")
    with pytest.raises(ValueError, match="is a calibration of volumes, which `anomalib-zsad screen` uses"):
        model.use_calibration(tmp_path / "c.json", RATE)


def test_a_rate_that_needs_more_normals_is_refused(model: Any, calibration_file: Path) -> None:
    with pytest.raises(TooFewNormalsError, match="needs at least 99 normal units, and the calibration has 25"):
        model.use_calibration(calibration_file, 0.01)


def test_a_calibration_needs_the_post_processor_and_excludes_sensitivities(
    model: Any, backbone: dict[str, str], calibration_file: Path
) -> None:
    with pytest.raises(ValueError, match="a calibration needs a ZeroShotPostProcessor, and the model has None"):
        build(type(model), backbone, post_processor=False).use_calibration(calibration_file, RATE)
    sensitive = build(type(model), backbone, post_processor=ZeroShotPostProcessor(image_sensitivity=0.7))
    sensitive.use_calibration(calibration_file, RATE)
    with pytest.raises(ValueError, match=r"the sensitivities are 0.7 and 0.5, and would shift the thresholds"):
        sensitive.apply_calibration()
