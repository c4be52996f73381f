"""Bayes-PFL for anomalib."""

import math
from typing import Any, Literal

import torch
from anomalib.metrics import Evaluator
from anomalib.models.components import AnomalibModule
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback
from torch import Tensor, nn

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.components.checkpoint import Checkpoint, check_backbone, load_parameters, read_checkpoint
from anomalib_zsad.models.components.global_batch import is_shared, share_of_step
from anomalib_zsad.models.components.kept_training import KeepsFeatures
from anomalib_zsad.models.components.lightning_mixin import DEFAULT_CLASS_NAME, ZeroShotMixin, resolve_pre_processor
from anomalib_zsad.models.components.proportion import count_at, length_at
from anomalib_zsad.models.components.training_noise import step_generator

from .published import PUBLISHED_KEY, from_published, infer_arguments, infer_stage
from .schedule import SCALES, Group, group_of, is_at_rest, multiplier
from .stages import TwoStageTraining
from .torch_model import BayesPFLModel
from .training import draw_training_noise, image_head_losses, kept_tokens, prompt_losses
from .validation import StageValidation, validation_noise

# Published constants of the map, in pixels at 518 x 518.
BLUR_SIGMA, TOP_K = 8.0, 2000


class BayesPFL(KeepsFeatures, ZeroShotMixin, AnomalibModule):  # type: ignore[misc]
    """Zero-shot anomaly detection with prompts drawn from learned distributions.

    Trained once on labelled auxiliary data, it scores and segments categories it never saw. Without ``checkpoint`` it
    is to be trained; with one it is ready.

    Args:
        backbone: ``"demo"`` (a demonstration that ships with the package), an open_clip model name, or the path of an
            open_clip JSON configuration.
        pretrained: open_clip tag, or a weights file; ``None`` for random weights. The demo backbone brings its own.
        image_size: Side of the square input in pixels; ``None`` for what suits the backbone.
        layers: Vision blocks, counted from 1, whose patches are used; ``None`` for four at equal distances.
        num_samples: Prompts sampled for each entry of the prompt bank (R in the paper).
        checkpoint: A checkpoint of this model, or a published file.
        class_name: Name of what images show, where the data carries none; else "object".
        blur_sigma: Standard deviation in pixels of the map's smoothing; 0 for none, ``None`` for the published 8 at an
            image size of 518, in proportion at others.
        map_weight: Weight of the map in the score: score = (1 - map_weight) * image probability + map_weight * mean of
            the ``top_k`` highest pixels of the unsmoothed map.
        top_k: Number of these pixels; ``None`` for the published 2000 at an image size of 518, in proportion at others.
        num_prompts: Entries of the prompt bank (B in the paper); a checkpoint's are taken from it.
        context_length: Context vectors of a prompt (P); likewise.
        state_length: State vectors of a prompt (Q); likewise.
        num_flows: Planar maps of each flow (K); likewise.
        learning_rate: Learning rate of prompts and flows; temperatures learn 10 times faster, all else 10 times slower.
        schedule_epochs: Epochs of the cosine schedule, whose first tenth warms up; a shorter run shortens it.
        patience: Validations in a row without a better AP that a training stage waits through; the next one ends it (of
            epochs 1 to 4 that are not better, the published 3 ends the stage after the fourth). The AP is that of
            pixels in stage 1 and of images in stage 2, each the mean over the validation categories.
        stage_1_epochs: Epochs after which stage 1 ends at the latest; ``None`` for the published rule, by which a run
            whose AP keeps rising, is shorter than ``patience + 3`` epochs, or has no validation data, never trains
            stage 2.
        restore_best: Whether a run leaves the model, and its last checkpoint, with the weights that validated best; as
            published, it leaves those of the last epoch.
        keep_features: Keep each training image's frozen tokens between epochs, ``"memory"`` or ``"disk"`` (a
            memory-mapped file that goes with the run); ``None`` for computing them in each. Needs training data without
            augmentation, or with a number of ``augmented_views``. With four layers of ViT-L-14-336 at 518 px an image
            (or view) takes 22.4 MB in float32.
        keep_features_limit: Most gigabytes to keep; it is an error if the training images need more.
        keep_features_folder: Existing folder for the file of ``"disk"``; ``None`` for the system's temporary folder.
        calibration: A file that ``anomalib-zsad calibrate`` made of normal images with this model: labels, masks and
            p-values then follow it.
        false_alarm_rate: With a calibration, the share of normal images that may be flagged.
        pre_processor: As in anomalib.
        post_processor: As in anomalib.
        evaluator: As in anomalib.
        visualizer: As in anomalib.

    Raises:
        ValueError: An argument does not fit the backbone.
        WeightsUnavailableError: The backbone's weights are not to be had; the message names three remedies.
        CheckpointError: The checkpoint is damaged, of another method, or of another backbone.
        CalibrationMismatchError: The calibration was made with another model or other settings.

    Example:
        >>> from anomalib_zsad import BayesPFL
        >>> model = BayesPFL(backbone="demo")
        >>> finding = model.examine("part.png", class_name="metal nut")  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str = "ViT-L-14-336",
        pretrained: str | None = "openai",
        image_size: int | None = None,
        layers: tuple[int, ...] | None = None,
        num_samples: int = 10,
        checkpoint: str | None = None,
        class_name: str | None = None,
        blur_sigma: float | None = None,
        map_weight: float = 0.5,
        top_k: int | None = None,
        num_prompts: int = 3,
        context_length: int = 5,
        state_length: int = 5,
        num_flows: int = 10,
        learning_rate: float = 1e-3,
        schedule_epochs: int = 30,
        patience: int = 3,
        stage_1_epochs: int | None = None,
        restore_best: bool = False,
        keep_features: Literal["memory", "disk"] | None = None,
        keep_features_limit: float = 8.0,
        keep_features_folder: str | None = None,
        calibration: str | None = None,
        false_alarm_rate: float = 0.05,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        self.keep(keep_features, keep_features_limit, keep_features_folder)
        stage_rule: dict[str, Any] = {
            "patience": patience,
            "stage_1_epochs": stage_1_epochs,
            "restore_best": restore_best,
        }
        TwoStageTraining(**stage_rule)  # checks it before anything is loaded
        saved = None if checkpoint is None else read_checkpoint(checkpoint, type(self).__name__, PUBLISHED_KEY)
        if saved is not None and saved.stamp:
            layers = layers or tuple(saved.stamp["layers"])
            image_size = image_size or saved.stamp["image_size"]
        frozen = FrozenCLIP(backbone, pretrained, image_size, activation="gelu", position_resize="bicubic_antialias")
        super().__init__(
            pre_processor=resolve_pre_processor(pre_processor, frozen.image_size),
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        self.class_name, self.trained = class_name, saved is not None
        self.learning_rate, self.schedule_epochs = learning_rate, schedule_epochs
        self._stage_rule, self._validation = stage_rule, StageValidation()
        shape = {
            "num_prompts": num_prompts,
            "context_length": context_length,
            "state_length": state_length,
            "num_flows": num_flows,
        }
        self.model = BayesPFLModel(
            frozen,
            tuple(layers or frozen.config.default_layers),
            num_samples=num_samples,
            class_name=class_name or DEFAULT_CLASS_NAME,
            blur_sigma=length_at(frozen.image_size, BLUR_SIGMA) if blur_sigma is None else blur_sigma,
            map_weight=map_weight,
            top_k=count_at(frozen.image_size, TOP_K) if top_k is None else top_k,
            **(shape if saved is None else _arguments_of(saved)),
        )
        if saved is not None:
            self._load(saved)
        self.use_calibration(calibration, false_alarm_rate)

    def _load(self, saved: Checkpoint) -> None:
        frozen = self.model.backbone
        state = saved.state
        if saved.published_key:
            parameters = dict(self.model.named_parameters(remove_duplicate=False))
            state = from_published(saved.state, parameters) | {"_extra_state": {"stage": infer_stage(saved.path)}}
        else:
            check_backbone(saved, frozen.config.name, frozen.fingerprint)
        load_parameters(self.model, state, saved, frozen.config.name)

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
        return [parameter for name, parameter in self.model.named_parameters() if is_at_rest(name, self.model.stage)]

    def validation_step(self, batch: Any, batch_idx: int, *args: Any, **kwargs: Any) -> Any:
        """Add the answers to a validation batch; while fitting, take what the stage rule goes by too."""
        if self.trainer.state.fn != "fit":
            return super().validation_step(batch, batch_idx, *args, **kwargs)
        names = self.class_names_of(batch)
        tokens = self.model.backbone.encode_image(batch.image, self.model.layers)
        answer = self.model.answer(tokens, names)
        if batch.gt_label is not None:
            images = batch.image_path or [f"{batch_idx}.{index}" for index in range(len(names))]
            width, device = self.model.backbone.config.embed_dim, batch.image.device
            noise = validation_noise(self.run_seed, self.current_epoch, images, width)
            evidence = self.model.evidence_of(tokens, names, tuple(part.to(device) for part in noise))
            self._validation.update(evidence, names, batch.gt_label, batch.gt_mask)
        return batch.update(**{name: value for name, value in answer._asdict().items() if value is not None})

    def on_validation_epoch_start(self) -> None:
        """Begin anew what the stage rule goes by."""
        self._validation.reset()

    def on_validation_epoch_end(self) -> None:
        """Log what the stage rule goes by: the mean over categories of the AP of pixels and of images."""
        if self.trainer.state.fn == "fit":
            # The same on all processes already.
            self.log_dict(self._validation.compute())
            self._validation.reset()

    def start_stage_2(self) -> None:
        """From here on only the image head learns, from a fresh optimiser state."""
        self.model.stage = 2
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]

    def configure_callbacks(self) -> list[Callback]:
        """Anomalib's components, and the two training stages."""
        components: Any = super().configure_callbacks()
        return [*components, TwoStageTraining(**self._stage_rule)]

    def configure_optimizers(self) -> Any:
        """Adam with the published groups; cosine schedule with warm-up in stage 1, the groups' own rates in stage 2."""
        groups: dict[Group, list[nn.Parameter]] = {name: [] for name in SCALES}
        for name, parameter in self.model.named_parameters():
            groups[group_of(name)].append(parameter)
        optimizer = torch.optim.Adam(
            [{"params": groups[name], "lr": self.learning_rate * SCALES[name], "name": name} for name in groups],
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
        """Share of a group's learning rate at a step."""
        return 1.0 if self.model.stage == 2 else multiplier(step, total)


def _arguments_of(saved: Checkpoint) -> dict[str, int]:
    """Hyper-parameters that a checkpoint was trained with, read from its shapes."""
    if saved.published_key:
        return infer_arguments(saved.state)
    num_prompts, context_length, _ = saved.state["prompts.context"].shape
    return {
        "num_prompts": num_prompts,
        "context_length": context_length,
        "state_length": saved.state["prompts.normal"].shape[1],
        "num_flows": saved.state["normal_flow.direction"].shape[1],
    }
