"""What the Lightning modules of all zero-shot methods share.

A mixin and not a base class: anomalib lists direct subclasses of `AnomalibModule` only.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from anomalib import LearningType
from anomalib.data import Batch, ImageBatch
from anomalib.metrics import AnomalibMetric, Evaluator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.calibration.fingerprint import CalibrationMismatchError
from anomalib_zsad.data.items import ClassNamedBatch
from anomalib_zsad.data.sample_set import SampleDataModule
from anomalib_zsad.data.visualizer import CategoryVisualizer
from anomalib_zsad.metrics.collection import streaming_metrics

from .checkpoint import STAMP, Checkpoint
from .class_names import DEFAULT_CLASS_NAME
from .examination import Examination, examine_image
from .exports import Exports
from .global_batch import Share, global_sum
from .hub import HubMixin
from .image_calibration import ImageCalibration
from .post_processor import ZeroShotPostProcessor
from .pre_processor import CLIPPreProcessor
from .prediction import ZeroShotPrediction
from .training_batch import TrainingBatch, training_batch

logger = logging.getLogger(__name__)


class ZeroShotMixin(HubMixin, Exports):
    """Steps, components, default data and checkpoints of a zero-shot model.

    The class that mixes it in sets `model` (a torch model with `backbone` and `layers`), `class_name` and
    `trained`, whether it was built from a checkpoint, which is `built_from`.
    """

    model: Any
    trainer: Any
    class_name: str | None
    checkpoint_path: Path | None = None
    pretrained: str | None
    trained: bool
    seed: int | None = None
    run_seed: int
    calibration: ImageCalibration | None = None
    built_from: Checkpoint | None = None

    @property
    def learning_type(self) -> LearningType:
        """One-class without a checkpoint, so that anomalib trains it; zero-shot with one."""
        return LearningType.ZERO_SHOT if self.trained else LearningType.ONE_CLASS

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """None: whatever a model sets here, a user cannot."""
        return {}

    @staticmethod
    def configure_pre_processor(image_size: tuple[int, int] | None = None) -> CLIPPreProcessor:
        """The pre-processor for a side in pixels; 518 x 518 if none is given."""
        return CLIPPreProcessor(image_size or (518, 518))

    @staticmethod
    def configure_post_processor() -> ZeroShotPostProcessor:
        """Thresholds only: scores and maps are in [0, 1] by construction."""
        return ZeroShotPostProcessor()

    @staticmethod
    def configure_evaluator() -> Evaluator:
        """Streaming image and pixel metrics in bounded memory, in validation and test."""
        return Evaluator(val_metrics=_metrics(), test_metrics=_metrics())

    def use_calibration(self, path: str | Path | None, rate: float) -> None:
        """Judge images by a calibration: labels, masks and p-values follow it in test, prediction and export.

        A model that was built from a checkpoint is compared with the calibration now, one whose weights are still to
        come (`ckpt_path`) when it is used.

        Args:
            path: A calibration file; `None` for none.
            rate: The false-alarm rate, between 0 and 1.

        Raises:
            FileNotFoundError: There is no such file.
            CalibrationMismatchError: It was made with another model or other settings.
            ValueError: It is no calibration of images, or this model has no post-processor that could use one.
        """
        self.calibration = None if path is None else ImageCalibration.load(path, rate)
        if self.calibration is None:
            return
        if not isinstance(self._post_processor, ZeroShotPostProcessor):
            raise ValueError(f"a calibration needs a ZeroShotPostProcessor, and the model has {self._post_processor!r}")
        if self.trained:
            self.apply_calibration()

    @property
    def _post_processor(self) -> Any:
        return getattr(self, "post_processor", None)

    def apply_calibration(self) -> None:
        """Make sure that the calibration, if any, fits the model as it is now, and use its thresholds.

        Raises:
            CalibrationMismatchError: It was made with another model or other settings.
        """
        if self.calibration is None:
            return
        self.calibration.check(self)
        self._post_processor.use((self.calibration.image_threshold, self.calibration.mask_threshold))

    def on_test_start(self) -> None:
        """Look at the calibration again: weights may have come from a checkpoint."""
        self.apply_calibration()

    def on_predict_start(self) -> None:
        """Look at the calibration again: weights may have come from a checkpoint."""
        self.apply_calibration()

    def forward(self, batch: Tensor, class_names: Sequence[str] | str | None = None) -> Any:
        """Pre-processing, model, and post-processing with the thresholds of a calibration: what an export runs.

        Args:
            batch: Images (n, 3, h, w) in [0, 1], of any size.
            class_names: One name, or one an image; `None` for the model's own.
        """
        pending = self.calibration is not None and self._post_processor.calibrated is None
        if pending and not torch.compiler.is_compiling():
            self.apply_calibration()
        if self.calibration is not None and class_names is not None:
            self.calibration.check_names([class_names] if isinstance(class_names, str) else class_names)
        prepared = self.pre_processor(batch) if self.pre_processor else batch  # type: ignore[attr-defined]
        answer = self.model(prepared, class_names or self.class_name)
        return self._post_processor(answer) if self._post_processor else answer

    def setup(self, stage: str) -> None:
        """Prepare for several processes, resize as published, and silence two of Lightning's notes on what is meant.

        Buffers are the same on every process: the backbone's, which are nearly all, never change, and thresholds come
        from metrics over all processes. DDP would send every one of them around before every step.
        """
        if stage == "fit":
            self._resize_as_published(getattr(self.trainer, "datamodule", None))
        buffers = [name for name, _ in self.named_buffers()]  # type: ignore[attr-defined]
        # Underscored, but what torch documents for this.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, buffers)  # noqa: SLF001
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        warnings.filterwarnings("ignore", message=r"You have overridden `on_before_batch_transfer`")

    def _resize_as_published(self, datamodule: Any) -> None:
        """Training and validation of these data follow the published pre-processing, if the pre-processor is ours."""
        pre_processor = getattr(self, "pre_processor", None)
        if isinstance(pre_processor, CLIPPreProcessor):
            pre_processor.resize_as_published(datamodule)

    @classmethod
    def configure_visualizer(cls) -> CategoryVisualizer:
        """Anomalib's overviews, where images of several categories do not overwrite each other."""
        return CategoryVisualizer()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Give stock batches the fields for class names and spread that this package's own have."""
        del dataloader_idx
        return ClassNamedBatch.from_batch(batch) if type(batch) is ImageBatch else batch

    def class_names_of(self, batch: Any) -> list[str]:
        """Class name of each image: the batch's, else the datamodule's category, else the model's, else "object"."""
        carried = getattr(batch, "class_name", None)
        if carried is not None:
            return list(carried)
        attached = getattr(self, "_trainer", None)
        category = getattr(getattr(attached, "datamodule", None), "category", None)
        return [category or self.class_name or DEFAULT_CLASS_NAME] * len(batch.image)

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Batch:
        """Add the answers to a validation batch."""
        del args, kwargs
        return self._answer(batch)

    def test_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Batch:
        """Add the answers to a test batch."""
        del args, kwargs
        return self._judge(self._answer(batch))

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Batch:
        """Add the answers to a batch of images."""
        del args, kwargs
        return self._judge(self._answer(batch))

    def _answer(self, batch: Batch) -> Batch:
        prediction: ZeroShotPrediction = self.model(batch.image, self.class_names_of(batch))
        return batch.update(**{name: value for name, value in prediction._asdict().items() if value is not None})

    def _judge(self, batch: Any) -> Any:
        """Add p-values, where there is a calibration."""
        if self.calibration is None:
            return batch
        return batch.update(p_value=self.calibration.p_values(batch.pred_score, self.class_names_of(batch)))

    def on_fit_start(self) -> None:
        """Agree on the seed of the training steps' draws, the model's or torch's, and see that all backbones are one.

        Raises:
            ValueError: This process has another backbone than the first one.
        """
        if self.calibration is not None:
            self._post_processor.use(None)  # what is trained now has other scores
        own = self.model.backbone.fingerprint
        seed = torch.initial_seed() if self.seed is None else self.seed
        self.run_seed, first = self.trainer.strategy.broadcast((seed, own))
        if own != first:
            raise ValueError(
                f"process {self.trainer.global_rank} has a backbone with other weights ({own}) than process 0 "
                f"({first}). Give all processes the same weights file."
            )

    def labelled(self, batch: Batch, share: Share) -> TrainingBatch:
        """A training batch as the losses take it, with its class names, and without images that only fill it up."""
        labelled = training_batch(batch, self.class_names_of(batch)).take(share.own)
        if self.trainer.current_epoch == 0:
            self._abnormal_seen = getattr(self, "_abnormal_seen", 0) + labelled.labels[labelled.counted].sum().detach()
        return labelled

    def on_train_epoch_end(self) -> None:
        """Warn after the first epoch of a run that shows no anomalies: there is nothing to learn from it."""
        seen = getattr(self, "_abnormal_seen", None)
        if self.trainer.current_epoch == 0 and seen is not None and int(global_sum(seen)) == 0:
            logger.warning(
                "The training data hold no abnormal images, and this method learns from normal and abnormal ones: "
                "use AuxiliaryDataModule as --data."
            )

    def log_losses(self, losses: dict[str, Tensor], images: int) -> Tensor:
        """Log each loss of a batch of `images` images on all processes, and their sum, and return the sum."""
        total = sum(losses.values(), start=next(iter(losses.values())).new_zeros(()))
        options: dict[str, Any] = {"batch_size": images, "on_step": False, "on_epoch": True, "sync_dist": True}
        for name, value in losses.items():
            self.log(f"train_{name}_loss", value.detach(), **options)  # type: ignore[attr-defined]
        self.log("train_loss", total.detach(), prog_bar=True, **options)  # type: ignore[attr-defined]
        return total

    def examine(self, image: str | Path, class_name: str | None = None, tile_size: int | None = None) -> Examination:
        """Look at one image file.

        Args:
            image: Path of an image.
            class_name: What it shows; `None` for the model's own class name.
            tile_size: Side in pixels, at least 16, of overlapping windows (by a quarter) that a large picture is scored
                by: the score is the highest of theirs, the map is blended of theirs. `None` for the picture as a whole.

        Returns:
            Score, map, their spread, and an overlay to look at.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It cannot be read as an image, or the tiles are too small.
            CalibrationMismatchError: The calibration was made with another model, other settings, or another class; or
                it is of whole images, and tiles are asked for.
        """
        if tile_size is not None and tile_size < 16:
            raise ValueError(f"tiles have a side of at least 16 pixels, not {tile_size}")
        if tile_size is not None and self.calibration is not None:
            raise CalibrationMismatchError(
                "the model's calibration is of whole images, and the score of tiles is another: examine without tiles, "
                "or build the model without a calibration (`anomalib-zsad inspect --tiles` takes one made of tiles)"
            )
        pre_processor = self.pre_processor  # type: ignore[attr-defined]
        examined = examine_image(self.model, pre_processor, Path(image), class_name, tile_size)
        if self.calibration is None:
            return examined
        self.apply_calibration()
        name = class_name or self.class_name or DEFAULT_CLASS_NAME
        judged = self.calibration.judge(torch.tensor([examined.score]), [name])[0]
        return replace(examined, p_value=judged.p_value, flagged=judged.flagged)

    # Data used where a run brings none -----------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader:
        """The bundled sample set's auxiliary categories; a datamodule takes precedence."""
        return self._sample().train_dataloader()

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Held-out auxiliary categories of the sample set while fitting, and nothing else, so that predicting works."""
        return self._sample().val_dataloader() if self.trainer.state.fn == "fit" else []

    def test_dataloader(self) -> DataLoader:
        """The sample set's unseen categories."""
        return self._sample().test_dataloader()

    def _sample(self) -> Any:
        if not hasattr(self, "_sample_data"):
            logger.warning("No data was given: the bundled sample set is used, which is a demonstration.")
            self._sample_data = SampleDataModule()
            self._sample_data.trainer = self.trainer  # images are resized before they are batched
            self._sample_data.setup()
            if self.trainer.state.fn == "fit":
                self._resize_as_published(self._sample_data)
        return self._sample_data

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stamp a checkpoint with what is needed to use it, or to refuse it, later."""
        super().on_save_checkpoint(checkpoint)  # type: ignore[misc]
        # A model that was built from a checkpoint has its weights now; the file it came from may be gone.
        # A calibration is of other weights.
        for name in ("checkpoint", "calibration", "false_alarm_rate"):
            checkpoint.get("hyper_parameters", {}).pop(name, None)
        checkpoint[STAMP] = self.stamp()

    def stamp(self) -> dict[str, Any]:
        """What is written on checkpoints: method, backbone, class name, layers, image size, auxiliary data."""
        backbone: FrozenCLIP = self.model.backbone
        attached = getattr(self, "_trainer", None)
        datamodule = getattr(attached, "datamodule", None) or getattr(self, "_sample_data", None)
        known = {} if self.built_from is None else self.built_from.stamp
        return {
            "method": type(self).__name__,
            "backbone": {
                "name": backbone.config.name,
                "pretrained": self.pretrained,
                "fingerprint": backbone.fingerprint,
                "version": backbone.version,
            },
            "class_name": self.class_name,
            "layers": list(self.model.layers),
            "image_size": backbone.image_size,
            # What a model was trained on stays what its checkpoint says, whatever data are scored now.
            "auxiliary": known.get("auxiliary") or list(getattr(datamodule, "auxiliary_categories", ())),
            "auxiliary_set": known.get("auxiliary_set") or getattr(datamodule, "auxiliary_set", None),
        }


def _metrics() -> list[AnomalibMetric]:
    """The streaming metrics under the names that anomalib's own have, such as `image_AUROC`."""
    metrics = streaming_metrics()
    for metric in metrics:
        metric.name = metric.name.replace("Streaming", "")
    return metrics


def resolve_pre_processor(pre_processor: nn.Module | bool, image_size: int) -> nn.Module | bool:
    """The default pre-processor for the backbone's image size, unless one was given or none is wanted."""
    return CLIPPreProcessor((image_size, image_size)) if pre_processor is True else pre_processor
