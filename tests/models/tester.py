"""What every zero-shot model must do. A model's own test subclasses `ModelTester` and names its class.

Tests run on a small CLIP with random weights (`small.py`), which answers in milliseconds.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from anomalib import LearningType
from anomalib.callbacks import ModelCheckpoint
from anomalib.engine import Engine
from lightning.pytorch import Callback
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors

from anomalib_zsad.backbone import WeightsMismatchError, WeightsUnavailableError
from anomalib_zsad.data.image_files import read_image
from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem
from anomalib_zsad.models.components.checkpoint import CheckpointError
from anomalib_zsad.models.components.export_metadata import read_metadata
from tests.models.small import write_backbone

SIDE = 56
CLIP = {
    "embed_dim": 192,
    "vision_width": 128,
    "vision_layers": 4,
    "patch_size": 14,
    "grid": 4,
    "text_width": 192,
    "text_layers": 4,
}
NAMES = ("bolt", "metal_nut", "a rather long name of some part")


class SeedEachEpoch(Callback):
    """The random numbers of an epoch depend on the epoch alone, so that a resumed run draws the same."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        torch.manual_seed(trainer.current_epoch)


class Squares(Dataset):
    """Noise; every second image has a dark square, and a mask of it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> ClassNamedItem:
        image = torch.rand(3, 80, 60, generator=torch.Generator().manual_seed(index))
        mask = torch.zeros(80, 60)
        if index % 2:
            mask[20:50, 20:50] = 1
            image[:, 20:50, 20:50] *= 0.3
        return ClassNamedItem(
            image=tv_tensors.Image(image),
            gt_mask=tv_tensors.Mask(mask),
            gt_label=torch.tensor(index % 2),
            image_path=f"{index}.png",
            class_name=NAMES[index % 3],
        )


def squares(batch_size: int = 4, indices: list[int] | None = None) -> DataLoader:
    """A loader of `Squares`, in their order or in the one given."""
    data = torch.utils.data.Subset(Squares(), indices) if indices else Squares()
    return DataLoader(data, batch_size=batch_size, collate_fn=ClassNamedBatch.collate)


def images(count: int = 3, seed: int = 5) -> Tensor:
    """Normalised images (count, 3, SIDE, SIDE)."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def scores_by_path(batches: list[Any]) -> dict[str, float]:
    """Scores of predicted batches."""
    return {
        path: float(score) for batch in batches for path, score in zip(batch.image_path, batch.pred_score, strict=True)
    }


def engine(folder: Path, epochs: int = 1, **options: Any) -> Engine:
    """anomalib's engine, quiet, on the CPU."""
    return Engine(
        max_epochs=epochs,
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


class ModelTester:
    """Tests of one model; subclasses set `model_class` and, where they need to, `arguments`."""

    model_class: ClassVar[type]
    arguments: ClassVar[dict[str, Any]] = {}
    other_method: ClassVar[str] = "SomeOtherModel"

    @pytest.fixture(scope="class")
    @classmethod
    def build(cls, small_backbone):
        def build(**changes: Any) -> Any:
            torch.manual_seed(0)
            arguments = {**small_backbone, "image_size": SIDE, "visualizer": False, **cls.arguments, **changes}
            return cls.model_class(**arguments).eval()

        return build

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, build):
        model = build()
        # Fresh prompts are so small that samples hardly differ; trained ones do.
        for parameter in model.model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        return model

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, build, tmp_path_factory):
        """A model trained for two epochs, and the checkpoint of it."""
        model = build()
        run = engine(tmp_path_factory.mktemp("run"), epochs=2)
        run.fit(model, squares(), squares())
        return model.eval(), Path(run.trainer.checkpoint_callback.best_model_path)

    # Answers

    @torch.no_grad()
    def test_answers_are_probabilities_of_the_right_shape(self, model) -> None:
        answer = model.model(images(), list(NAMES))
        assert answer.pred_score.shape == answer.score_std.shape == (3,)
        assert answer.anomaly_map.shape == answer.map_std.shape == (3, 1, SIDE, SIDE)
        for values in (answer.pred_score, answer.anomaly_map):
            assert values.min() >= 0
            assert values.max() <= 1
        assert answer.score_std.min() > 0
        assert answer.map_std.max() <= 0.5

    @torch.no_grad()
    def test_a_batch_equals_its_images_one_by_one(self, model) -> None:
        batch = model.model(images(), list(NAMES))
        for index, name in enumerate(NAMES):
            single = model.model(images()[index : index + 1], [name])
            for whole, alone in zip(batch, single, strict=True):
                if whole is not None:
                    torch.testing.assert_close(whole[index : index + 1], alone, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_answers_do_not_depend_on_order_or_history(self, model) -> None:
        first = model.model(images(), list(NAMES))
        model.model(images(2, seed=9), "gear")
        order = [2, 0, 1]
        again = model.model(images()[order], [NAMES[index] for index in order])
        torch.testing.assert_close(first.pred_score[order], again.pred_score, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(first.anomaly_map[order], again.anomaly_map, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_a_constant_image_has_an_answer(self, model) -> None:
        answer = model.model(torch.zeros(1, 3, SIDE, SIDE))
        assert torch.isfinite(answer.pred_score).all()
        assert torch.isfinite(answer.anomaly_map).all()

    @torch.no_grad()
    def test_one_sample_has_no_spread(self, build) -> None:
        answer = build(num_samples=1).model(images(1))
        assert float(answer.score_std) == 0
        assert float(answer.map_std.max()) == 0

    @torch.no_grad()
    def test_bfloat16_is_close_to_float32(self, model, build) -> None:
        expected = model.model(images(), list(NAMES))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            autocast = model.model(images(), list(NAMES))
        true = build()
        true.load_state_dict(model.state_dict())
        halved = true.model.to(torch.bfloat16)(images().bfloat16(), list(NAMES))
        for answer in (autocast, halved):
            torch.testing.assert_close(answer.pred_score.float(), expected.pred_score, atol=0.05, rtol=0)
            torch.testing.assert_close(answer.anomaly_map.float(), expected.anomaly_map, atol=0.1, rtol=0)

    # The backbone

    def test_the_backbone_never_trains_and_is_not_saved(self, model, trained) -> None:
        model.train()
        assert not model.model.backbone.training
        assert not list(model.model.backbone.parameters())
        model.eval()
        _, path = trained
        saved = torch.load(path, weights_only=True)["state_dict"]
        assert not [name for name in saved if "backbone" in name]

    # Training and checkpoints

    def test_training_changes_the_model_and_only_it(self, build, trained) -> None:
        model, _ = trained
        fresh = build()
        learned = dict(model.model.named_parameters())
        changed = [name for name, value in fresh.model.named_parameters() if not torch.equal(value, learned[name])]
        assert changed
        before, after = fresh.model.backbone.vision.projection, model.model.backbone.vision.projection
        assert torch.equal(before, after)

    @torch.no_grad()
    def test_a_checkpoint_gives_the_same_answers(self, build, trained) -> None:
        model, path = trained
        assert model.learning_type == LearningType.ONE_CLASS
        expected = model.model(images(), list(NAMES))
        reloaded = build(checkpoint=str(path), image_size=None)
        assert reloaded.learning_type == LearningType.ZERO_SHOT
        restored = self.model_class.load_from_checkpoint(path, visualizer=False).eval()
        for again in (reloaded, restored):
            torch.testing.assert_close(again.model(images(), list(NAMES)).pred_score, expected.pred_score)

    def test_the_engine_tests_and_predicts_and_data_order_does_not_matter(self, trained, tmp_path) -> None:
        model, _ = trained
        results = engine(tmp_path).test(model, squares())[0]
        assert {"image_AUROC", "pixel_AUROC", "pixel_AUPRO"} <= set(results)
        straight = engine(tmp_path).predict(model, squares())
        mixed = engine(tmp_path).predict(model, squares(3, [5, 0, 7, 2, 1, 6, 3, 4]))
        assert scores_by_path(straight) == pytest.approx(scores_by_path(mixed), abs=1e-5)
        assert straight[0].pred_label.dtype == torch.bool
        assert straight[0].score_std.shape == (4,)

    @pytest.mark.parametrize("epoch", [1, 4])
    def test_a_resumed_run_ends_as_an_unbroken_one(self, build, tmp_path, epoch) -> None:
        unbroken = build()
        keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        engine(tmp_path / "whole", epochs=6, callbacks=[keep, SeedEachEpoch()]).fit(unbroken, squares(), squares())
        resumed = build()
        again = engine(tmp_path / "again", epochs=6, callbacks=[SeedEachEpoch()])
        again.fit(resumed, squares(), squares(), ckpt_path=tmp_path / f"epoch={epoch}.ckpt")
        values = dict(resumed.model.named_parameters())
        for name, expected in unbroken.model.named_parameters():
            torch.testing.assert_close(values[name], expected, atol=1e-6, rtol=1e-5, msg=name)

    # Plain use

    def test_three_lines_from_a_file_to_an_overlay(self, model, tmp_path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (40, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "part.png")
        finding = model.examine(tmp_path / "part.png", class_name="bolt")
        assert 0 <= finding.score <= 1
        assert finding.anomaly_map.shape == (40, 70)
        assert finding.overlay().size == (70, 40)
        np.testing.assert_array_equal(finding.image, pixels)

    @pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "P"])
    def test_other_kinds_of_images_work(self, model, tmp_path, mode) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (9, 5), dtype=np.uint8)
        image = (
            Image.fromarray(pixels.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
        )
        image.save(tmp_path / "odd.png")
        assert 0 <= model.examine(tmp_path / "odd.png").score <= 1

    # Bad input

    def test_a_wrong_number_of_names_is_an_error(self, model) -> None:
        with pytest.raises(ValueError, match="2 class names were given for 3 images"):
            model.model(images(), ["bolt", "nut"])

    def test_a_wrong_image_size_is_an_error(self, model) -> None:
        with pytest.raises(ValueError, match=r"shape \(1, 3, 50, 50\).*set image_size"):
            model.model(torch.zeros(1, 3, 50, 50))

    def test_layers_that_the_backbone_lacks_are_an_error(self, build) -> None:
        with pytest.raises(ValueError, match=r"layers \(2, 9\).*blocks 1 to 4"):
            build(layers=(2, 9))

    def test_missing_weights_name_three_remedies(self, monkeypatch) -> None:
        def offline(*_args: Any, **_kwargs: Any) -> str:
            raise OSError("no network")

        monkeypatch.setattr("open_clip.pretrained.download_pretrained", offline)
        with pytest.raises(
            WeightsUnavailableError, match=r"(?s)Three remedies.*\(1\).*\(2\).*\(3\).*ANOMALIB_ZSAD_WEIGHTS"
        ):
            self.model_class()

    def test_a_checkpoint_of_another_method_is_refused(self, build, trained, tmp_path) -> None:
        _, path = trained
        content = torch.load(path, weights_only=True)
        content["anomalib_zsad"]["method"] = self.other_method
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(CheckpointError, match=f"is a checkpoint of {self.other_method}"):
            build(checkpoint=str(tmp_path / "other.ckpt"))

    def test_a_checkpoint_of_another_backbone_is_refused(self, build, trained, tmp_path) -> None:
        _, path = trained
        other = write_backbone(tmp_path, 21, CLIP)
        with pytest.raises(CheckpointError, match="was trained over backbone"):
            build(**other, checkpoint=str(path))

    def test_damaged_and_foreign_files_are_refused(self, build, trained, tmp_path) -> None:
        _, path = trained
        half = tmp_path / "half.ckpt"
        half.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(CheckpointError, match="damaged, incomplete"):
            build(checkpoint=str(half))
        torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
        with pytest.raises(CheckpointError, match="It holds: weights"):
            build(checkpoint=str(tmp_path / "foreign.pt"))
        with pytest.raises(FileNotFoundError, match="there is no checkpoint at"):
            build(checkpoint=str(tmp_path / "absent.ckpt"))

    def test_damaged_backbone_weights_are_refused(self, build, small_backbone, tmp_path) -> None:
        broken = tmp_path / "clip.safetensors"
        broken.write_bytes(Path(small_backbone["pretrained"]).read_bytes()[:10000])
        with pytest.raises(WeightsMismatchError, match="cannot be read as weights"):
            build(pretrained=str(broken))

    # Export

    @pytest.mark.parametrize("kind", ["torch", "onnx", pytest.param("openvino", marks=pytest.mark.slow)])
    def test_exports_answer_images_of_any_size_as_the_model_does(self, model, tmp_path, kind) -> None:
        path = engine(tmp_path).export(model, kind, export_root=tmp_path)
        # OpenVINO reads the ONNX file as well, which spares the fast tests a second export.
        runners = [exported(runtime, path) for runtime in (("onnx", "openvino") if kind == "onnx" else (kind,))]
        for photograph in photographs():
            with torch.no_grad():
                expected = model.model(model.pre_processor.transform(photograph), "object")
            for runner in runners:
                scores, maps = runner(photograph)
                np.testing.assert_allclose(scores.reshape(-1), expected.pred_score, atol=1e-4)
                np.testing.assert_allclose(maps, expected.anomaly_map, atol=1e-3)
        metadata = torch.load(path, weights_only=False)["anomalib_zsad"] if kind == "torch" else read_metadata(path)
        assert metadata["method"] == type(model).__name__
        assert metadata["class_names"] == ["object"]
        assert metadata["backbone_fingerprint"] == model.model.backbone.fingerprint
        assert metadata["thresholds"] == {"image": 0.5, "mask": 0.5, "abnormal": "above"}


def photographs() -> list[Tensor]:
    """Pictures of the sample set (n, 3, h, w): larger than the model's images, smaller, and of its size."""
    folder = Path(__file__).resolve().parents[2] / "sample_data" / "industrial" / "tablet"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "ground_truth" not in path.parts][:2]
    whole = torch.stack([read_image(path).as_subclass(torch.Tensor) for path in paths])
    return [whole, whole[:1, :, :150, :61], whole[1:, :, 20:60, 30:131], whole[:, :, :SIDE, :SIDE]]


def exported(kind: str, path: Path) -> Any:
    """An exported model by the runtime it was exported for: images to scores and maps."""
    if kind == "torch":
        model = torch.load(path, weights_only=False)["model"]

        def run(inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
            with torch.no_grad():
                answer = model(inputs)
            return answer.pred_score.numpy(), answer.anomaly_map.numpy()

        return run
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(["pred_score", "anomaly_map"], {"input": inputs.numpy()})
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer_of(inputs: Tensor) -> list[np.ndarray]:
        answer = compiled(inputs.numpy())
        return [answer[name] for name in ("pred_score", "anomaly_map")]

    return answer_of
