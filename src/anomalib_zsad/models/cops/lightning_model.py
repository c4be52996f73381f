"""CoPS for anomalib."""

import logging
from dataclasses import asdict
from typing import Any, Literal

import torch
from anomalib.metrics import Evaluator
from anomalib.models.components import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_zsad.models.components.checkpoint import AUTO, read_checkpoint, settle, settle_shape
from anomalib_zsad.models.components.global_batch import global_sum, share_of_step
from anomalib_zsad.models.components.kept_training import KeepsFeatures
from anomalib_zsad.models.components.lightning_mixin import ZeroShotMixin, resolve_pre_processor
from anomalib_zsad.models.components.training_batch import TrainingBatch
from anomalib_zsad.models.components.training_noise import seeded_start, step_generator

from .construction import SHAPE, frozen_backbone, load_weights, new_model, shape_of
from .loss import abnormal_share
from .published import PUBLISHED_KEY
from .training import draw_training_noise, prompt_losses

logger = logging.getLogger(__name__)

# What Lightning makes of a max_epochs that is not set, before any hook is called.
LIGHTNING_DEFAULT_EPOCHS = 1000


class CoPS(KeepsFeatures, ZeroShotMixin, AnomalibModule):  # type: ignore[misc]
    """Zero-shot anomaly detection with prompts that are conditioned on the image.

    Trained once on labelled auxiliary data, it scores and segments categories it never saw. Without `checkpoint` it
    is to be trained; with one it is ready.

    The constants `neighbourhood` to `reconstruction` travel with a checkpoint: one that is left `None` is the
    checkpoint's, and the value named below where there is no checkpoint, or a published one, which holds none.

    Args:
        backbone: `"demo"` (a demonstration that ships with the package), an open_clip model name, or the path of an
            open_clip JSON configuration; `None` for the checkpoint's, else `"ViT-L-14-336"`.
        pretrained: open_clip tag, or a weights file; `None` for random weights; `"auto"` for the checkpoint's, else
            `"openai"`. The demo backbone brings its own.
        image_size: Side of the square input in pixels; `None` for the checkpoint's, else what suits the backbone.
        layers: The vision block after which the value-value path is read; the method is defined for the last one, which
            `None` means.
        num_samples: Class tokens sampled for each state.
        checkpoint: A checkpoint of this model, or a published file.
        class_name: As in every zero-shot model; CoPS's prompts hold no class name.
        neighbourhood: Patches along one side of the square that is averaged around each patch, odd; 5.
        alpha: Share of the distance from the normal prototypes in the weight of a patch, in [0, 1]; 0.26.
        beta: Share of the image feature in the score, in [0, 1]: score = beta * image probability + (1 - beta) *
            highest patch; 0.9.
        blur_sigma: Standard deviation in pixels of the map's smoothing; 0 for none, `None` for the published 4 at an
            image size of 518, in proportion at others.
        training_neighbourhood: `neighbourhood` while training; 5.
        reconstruction: Whether the reconstruction of image features counts in training; no.
        context_length: Context vectors of a prompt; `None` for the checkpoint's, else 6.
        state_length: State vectors of a prompt, and prototypes of a state; `None` for the checkpoint's, else 6.
        class_length: Class vectors of a prompt; `None` for the checkpoint's, else 2.
        deep_depth: Text blocks with deep prompts; `None` for the checkpoint's, else 8, or all but the first in a
            shallower text tower.
        deep_length: Deep vectors of a block; `None` for the checkpoint's, else 4.
        extractor_heads: Attention heads of the prototype extractor, a divisor of the embedding's width; `None` for the
            checkpoint's, else 12.
        learning_rate: Learning rate of everything.
        epochs: Epochs of a run whose trainer has no `max_epochs` (published: 10 on VisA, 5 on MVTec AD).
        keep_features: Keep each training image's frozen features between epochs, `"memory"` or `"disk"` (a
            memory-mapped file that goes with the run); `None` for computing them in each. Needs training data without
            augmentation, or with a number of `augmented_views`.
        keep_features_limit: Most gigabytes to keep; it is an error if the training images need more.
        keep_features_folder: Existing folder for the file of `"disk"`; `None` for the system's temporary folder.
        seed: Seed of the first weights and of the training steps' draws (published: 0); `None` for torch's, which
            anomalib's command line seeds with nothing.
        calibration: A file that `anomalib-zsad calibrate` made of normal images with this model: labels, masks and
            p-values then follow it.
        false_alarm_rate: With a calibration, the share of normal images that may be flagged.
        pre_processor: As in anomalib.
        post_processor: As in anomalib.
        evaluator: As in anomalib.
        visualizer: As in anomalib.

    Raises:
        ValueError: An argument is out of its range or does not fit the backbone.
        WeightsUnavailableError: The backbone's weights are not to be had; the message names three remedies.
        CheckpointError: The checkpoint is damaged, of another method or backbone, or an argument contradicts it.
        CalibrationMismatchError: The calibration was made with another model or other settings.

    Example:
        >>> from anomalib_zsad import CoPS
        >>> model = CoPS(backbone="demo")
        >>> answer = model.examine("part.png")  # doctest: +SKIP
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
        neighbourhood: int | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        blur_sigma: float | None = None,
        training_neighbourhood: int | None = None,
        reconstruction: bool | None = None,
        context_length: int | None = None,
        state_length: int | None = None,
        class_length: int | None = None,
        deep_depth: int | None = None,
        deep_length: int | None = None,
        extractor_heads: int | None = None,
        learning_rate: float = 1e-3,
        epochs: int = 10,
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
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; give the number of epochs, at least 1")
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
        self.class_name, self.trained, self.learning_rate = base.class_name, saved is not None, learning_rate
        self.checkpoint_path = None if saved is None else saved.path
        self.epochs = epochs
        self._without_gradient: list[nn.Parameter] = []
        constants = {
            "neighbourhood": neighbourhood,
            "alpha": alpha,
            "beta": beta,
            "training_neighbourhood": training_neighbourhood,
            "reconstruction": reconstruction,
        }
        given = {
            "context_length": context_length,
            "state_length": state_length,
            "class_length": class_length,
            "deep_depth": deep_depth,
            "deep_length": deep_length,
            "extractor_heads": extractor_heads,
        }
        self._shape = settle_shape(saved, given, {} if saved is None else shape_of(saved), SHAPE)
        with seeded_start(seed):
            self.model = new_model(
                frozen, base, self._shape, num_samples=num_samples, blur_sigma=blur_sigma, constants=constants
            )
        if saved is not None:
            # What the checkpoint decided is what rebuilds this model from a checkpoint of its own.
            self.hparams.update(self._shape, **asdict(base))
            self.built_from = saved
            load_weights(self.model, saved)
        self.pretrained = base.pretrained
        self.use_calibration(calibration, false_alarm_rate)

    def stamp(self) -> dict[str, Any]:
        """What is written on checkpoints; two arguments of the shape are not to be seen from the weights."""
        hidden = {name: self._shape[name] for name in ("class_length", "extractor_heads")}
        return super().stamp() | {"arguments": hidden}

    def on_fit_start(self) -> None:
        """End a run after the published number of epochs where nobody said how many."""
        super().on_fit_start()
        if self.trainer.max_epochs == LIGHTNING_DEFAULT_EPOCHS:
            logger.info("The trainer's max_epochs is not set: training ends after %d epochs.", self.epochs)
            self.trainer.fit_loop.max_epochs = self.epochs

    def training_step(self, batch: Any, batch_idx: int, *args: Any, **kwargs: Any) -> Tensor:
        """Losses of a labelled batch."""
        del args, kwargs
        share = share_of_step(self.trainer, batch_idx, len(batch.image))
        labelled = self.labelled(batch, share)
        features = self.features_of(batch, labelled.images, self.model.encode)
        generator = step_generator(self.run_seed, self.current_epoch, batch_idx)
        noise = share.rows(draw_training_noise(self.model, share.total, generator))
        total = self.log_losses(prompt_losses(self.model, labelled, noise, features), share.total)
        self._without_gradient = self._unread_queries(labelled)
        return total

    def _unread_queries(self, labelled: TrainingBatch) -> list[nn.Parameter]:
        """Queries of prototypes that no patch of the batch, on any process, is compared with."""
        share = abnormal_share(labelled.masks, self.model.backbone.config.patch_size)[labelled.counted]
        seen = global_sum(torch.stack(((share == 0).sum(), (share > 0).sum())))
        queries = (self.model.prototypes.normal, self.model.prototypes.abnormal)
        return [query for query, count in zip(queries, seen.tolist(), strict=True) if not count]

    def on_after_backward(self) -> None:
        """Leave queries that nothing was said of without a gradient, so that Adam passes them over, moments and all."""
        for query in self._without_gradient:
            query.grad = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at one learning rate, without a schedule."""
        return torch.optim.Adam(self.model.parameters(), lr=self.learning_rate, betas=(0.5, 0.999))
