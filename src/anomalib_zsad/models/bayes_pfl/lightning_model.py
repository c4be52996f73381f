"""Bayes-PFL for anomalib."""

import math
from dataclasses import asdict
from typing import Any, Literal

import torch
from anomalib.metrics import Evaluator
from anomalib.models.components import AnomalibModule
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback
from torch import Tensor, nn

from anomalib_zsad.models.components.checkpoint import AUTO, read_checkpoint, settle, settle_shape
from anomalib_zsad.models.components.global_batch import is_shared, share_of_step
from anomalib_zsad.models.components.kept_training import KeepsFeatures
from anomalib_zsad.models.components.lightning_mixin import ZeroShotMixin, resolve_pre_processor
from anomalib_zsad.models.components.training_noise import seeded_start, step_generator

from .construction import SHAPE, frozen_backbone, load_weights, new_model, shape_of
from .published import PUBLISHED_KEY
from .stages import TwoStageTraining
from .training import draw_training_noise, image_head_losses, kept_tokens, prompt_losses
from .validation import StageFigures, validation_noise

# Parameters that stage 2 trains, and those that only it trains, by the beginning of their names.
IMAGE_HEAD = ("class_mapping.", "image_mapping.", "fusion.")
STAGE_2_ONLY = ("image_mapping.", "fusion.")


class BayesPFL(KeepsFeatures, ZeroShotMixin, AnomalibModule):  # type: ignore[misc]
    """Zero-shot anomaly detection with prompts drawn from learned distributions.

    Trained once on labelled auxiliary data, it scores and segments categories it never saw. Without `checkpoint` it
    is to be trained; with one it is ready.

    Args:
        backbone: `"demo"` (a demonstration that ships with the package), an open_clip model name, or the path of an
            open_clip JSON configuration; `None` for the checkpoint's, else `"ViT-L-14-336"`.
        pretrained: open_clip tag, or a weights file; `None` for random weights; `"auto"` for the checkpoint's, else
            `"openai"`. The demo backbone brings its own.
        image_size: Side of the square input in pixels; `None` for the checkpoint's, else what suits the backbone.
        layers: Vision blocks, counted from 1, whose patches are used; `None` for four at equal distances.
        num_samples: Prompts sampled for each entry of the prompt bank (R in the paper).
        checkpoint: A checkpoint of this model, or a published file.
        class_name: Name of what images show, where the data carry none; `None` for the checkpoint's, else "object".
        blur_sigma: Standard deviation in pixels of the map's smoothing; 0 for none, `None` for the published 8 at an
            image size of 518, in proportion at others.
        map_weight: Weight of the map in the score: score = (1 - map_weight) * image probability + map_weight * mean of
            the `top_k` highest pixels of the unsmoothed map.
        top_k: Number of these pixels; `None` for the published 2000 at an image size of 518, in proportion at others.
        num_prompts: Entries of the prompt bank (B in the paper); `None` for the checkpoint's, else 3.
        context_length: Context vectors of a prompt (P); `None` for the checkpoint's, else 5.
        state_length: State vectors of a prompt (Q); `None` for the checkpoint's, else 5.
        num_flows: Planar maps of each flow (K); `None` for the checkpoint's, else 10.
        learning_rate: Learning rate of prompts and flows; temperatures learn 10 times faster, all else 10 times slower.
        schedule_epochs: Epochs of the cosine schedule, whose first tenth warms up; a shorter run shortens it.
        patience: Epochs in a row whose validation AP is below the best so far that do not end a training stage yet; the
            next one does (see `TwoStageTraining`).
        stage_1_epochs: End the first training stage after so many epochs at the latest; `None` for no limit, as
            published: then a run whose pixel AP keeps rising never trains the image head.
        keep_features: Keep each training image's frozen tokens between epochs, `"memory"` or `"disk"` (a memory-mapped
            file that goes with the run); `None` for computing them in each. Needs training data without augmentation,
            or with a number of `augmented_views`. With four layers of ViT-L-14-336 at 518 px an image, or a view of it,
            takes 22.4 MB in float32.
        keep_features_limit: Most gigabytes to keep; it is an error if the training images need more.
        keep_features_folder: Existing folder for the file of `"disk"`; `None` for the system's temporary folder.
        seed: Seed of the first weights and of the training steps' draws (published: 333); `None` for torch's, which
            anomalib's command line seeds with nothing.
        calibration: A file that `anomalib-zsad calibrate` made of normal images with this model: labels, masks and
            p-values then follow it.
        false_alarm_rate: With a calibration, the share of normal images that may be flagged.
        pre_processor: As in anomalib.
        post_processor: As in anomalib.
        evaluator: As in anomalib.
        visualizer: As in anomalib.

    Raises:
        ValueError: An argument does not fit the backbone.
        WeightsUnavailableError: The backbone's weights are not to be had; the message names three remedies.
        CheckpointError: The checkpoint is damaged, of another method or backbone, or an argument contradicts it.
        CalibrationMismatchError: The calibration was made with another model or other settings.

    Example:
        >>> from anomalib_zsad import BayesPFL
        >>> model = BayesPFL(backbone="demo")
        >>> answer = model.examine("part.png", class_name="metal nut")  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str | None = None,
        pretrained: str | None = AUTO,
        image_size: int | None = None,
        layers: tuple[int, ...] | None = None,
        num_samples: int = 10,
        checkpoint: str | None = None,
        class_name: str | None = None,
        blur_sigma: float | None = None,
        map_weight: float = 0.5,
        top_k: int | None = None,
        num_prompts: int | None = None,
        context_length: int | None = None,
        state_length: int | None = None,
        num_flows: int | None = None,
        learning_rate: float = 1e-3,
        schedule_epochs: int = 30,
        patience: int = 3,
        stage_1_epochs: int | None = None,
        keep_features: Literal["memory", "disk"] | None = None,
        keep_features_limit: float = 8.0,
        keep_features_folder: str | None = None,
        seed: int | None = None,
        calibration: str | None = None,
        false_alarm_rate: float = 0.05,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        self.keep(keep_features, keep_features_limit, keep_features_folder)
        saved = None if checkpoint is None else read_checkpoint(checkpoint, type(self).__name__, PUBLISHED_KEY)
        base = settle(saved, backbone, pretrained, image_size, layers, class_name)
        frozen = frozen_backbone(base)
        super().__init__(
            pre_processor=resolve_pre_processor(pre_processor, frozen.image_size),
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        self.seed = seed
        self.class_name, self.trained = base.class_name, saved is not None
        self.checkpoint_path = None if saved is None else saved.path
        self.learning_rate, self.schedule_epochs = learning_rate, schedule_epochs
        self.patience, self.stage_1_epochs = patience, stage_1_epochs
        self._figures, self._images_validated = StageFigures(), 0
        shape = {
            "num_prompts": num_prompts,
            "context_length": context_length,
            "state_length": state_length,
            "num_flows": num_flows,
        }
        shape = settle_shape(saved, shape, {} if saved is None else shape_of(saved), SHAPE)
        with seeded_start(seed):
            self.model = new_model(
                frozen, base, shape, num_samples=num_samples, blur_sigma=blur_sigma, map_weight=map_weight, top_k=top_k
            )
        if saved is not None:
            self.hparams.update(shape, **asdict(base))  # what rebuilds this model from a checkpoint of its own
            self.built_from = saved
            load_weights(self.model, saved)
        self.pretrained = base.pretrained
        self.use_calibration(calibration, false_alarm_rate)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Losses of the current stage on a labelled batch."""
        share = share_of_step(self.trainer, batch_idx, len(batch.image))
        labelled = self.labelled(batch, share)
        losses = prompt_losses if self.model.stage == 1 else image_head_losses
        generator = step_generator(self.run_seed, self.current_epoch, batch_idx)
        draw = draw_training_noise(self.model, share.total, generator)
        context, normal, abnormal = draw.noise
        draw = draw._replace(noise=(share.rows(context), normal, abnormal))
        kept = self.features_of(batch, labelled.images, lambda images: kept_tokens(self.model, images))
        tokens = None if kept is None else kept.tokens()
        total = self.log_losses(losses(self.model, labelled, draw, tokens), share.total)
        if is_shared():
            # DDP waits for a gradient of every parameter, so those that have none get one of zero.
            total = total + 0 * torch.stack([parameter.sum() for parameter in self._resting_parameters()]).sum()
        return total

    def on_after_backward(self) -> None:
        """Leave parameters that the stage does not train without a gradient: the optimiser passes them over.

        They are not frozen, because what DDP has once wrapped must stay trainable.
        """
        for parameter in self._resting_parameters():
            parameter.grad = None

    def _resting_parameters(self) -> list[nn.Parameter]:
        """Parameters that the current stage does not train."""
        return [
            parameter
            for name, parameter in self.model.named_parameters()
            if (name.startswith(STAGE_2_ONLY) if self.model.stage == 1 else not name.startswith(IMAGE_HEAD))
        ]

    def start_stage_2(self) -> None:
        """From here on only the image head learns, from a fresh optimiser state."""
        self.model.stage = 2
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]

    def on_validation_epoch_start(self) -> None:
        """Begin the figures that the training stages go by."""
        self._figures, self._images_validated = StageFigures(), 0

    def validation_step(self, batch: Any, batch_idx: int = 0, *args: Any, **kwargs: Any) -> Any:
        """Add the answers to a validation batch, and while training take it into the stages' figures."""
        if self.trainer.state.fn != "fit":
            return super().validation_step(batch, batch_idx, *args, **kwargs)
        names, tokens = self.class_names_of(batch), self.model.encode(batch.image)
        # Images are dealt out to the processes in turn.
        first, processes = self._images_validated, self.trainer.world_size
        places = [(first + row) * processes + self.trainer.global_rank for row in range(len(batch.image))]
        self._images_validated += len(batch.image)
        width = self.model.backbone.config.embed_dim
        noise = validation_noise(self.run_seed, self.current_epoch, places, width, batch.image.device)
        if batch.gt_label is not None:
            evidence = self.model.evidence(batch.image, names, noise, tokens)
            self._figures.update(evidence, names, batch.gt_label, batch.gt_mask)
        prediction = self.model(batch.image, names, tokens=tokens)
        return batch.update(**{name: value for name, value in prediction._asdict().items() if value is not None})

    def on_validation_epoch_end(self) -> None:
        """Log the stages' figures."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            for name, value in self._figures.compute().items():
                self.log(name, value)

    def configure_callbacks(self) -> list[Callback]:
        """Anomalib's components, and the two training stages."""
        components: Any = super().configure_callbacks()
        return [*components, TwoStageTraining(self.patience, self.stage_1_epochs)]

    def configure_optimizers(self) -> Any:
        """Adam with the published groups; cosine schedule with warm-up in stage 1, the groups' own rates in stage 2."""
        groups: dict[str, list[nn.Parameter]] = {"prompt": [], "flow": [], "temperature": [], "head": [], "other": []}
        for name, parameter in self.model.named_parameters():
            groups[_group_of(name)].append(parameter)
        scale = {"prompt": 1.0, "flow": 1.0, "temperature": 10.0, "head": 0.1, "other": 0.1}
        optimizer = torch.optim.Adam(
            [{"params": groups[name], "lr": self.learning_rate * scale[name], "name": name} for name in groups],
            betas=(0.5, 0.999),
        )
        total = self._scheduled_steps()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _scheduled_steps(self) -> int:
        _ = self.trainer.estimated_stepping_batches  # makes Lightning set up the training data
        epochs = self.schedule_epochs
        if self.trainer.max_epochs and self.trainer.max_epochs > 0:
            epochs = min(epochs, self.trainer.max_epochs)
        return max(1, epochs * math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches))

    def _rate(self, step: int, total: int) -> float:
        """Share of a group's learning rate at a step: stage 2 keeps its rate."""
        return 1.0 if self.model.stage == 2 else schedule(step, total)


def schedule(step: int, total: int) -> float:
    """Share of the learning rate at a step, counted from 0, of `total` ones: a tenth warms up, a cosine follows.

    Quirk kept for parity: the first step has rate 0. It moves nothing, but Adam's moments see its gradient.
    """
    warm_up = int(0.1 * total)
    if step < warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, total - warm_up))))


def _group_of(name: str) -> Literal["prompt", "flow", "temperature", "head", "other"]:
    """Optimiser group of a parameter."""
    if name.startswith("prompts."):
        return "prompt"
    if name.startswith("temperature_"):
        return "temperature"
    if name.startswith(IMAGE_HEAD):
        return "head"
    if "_flow." in name and ".base." not in name:
        return "flow"
    return "other"
