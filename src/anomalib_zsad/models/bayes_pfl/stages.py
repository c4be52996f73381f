"""Bayes-PFL trains in two stages: prompts first, then the image head alone."""

import logging
import math
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

logger = logging.getLogger(__name__)

# What decides when a stage has stopped improving, as anomalib's evaluator names it.
MONITORED = {1: "pixel_AveragePrecision", 2: "image_AveragePrecision"}


class TwoStageTraining(Callback):
    """Ends a stage when its validation metric stalls, restores its best weights, and goes on or stops.

    Stage 1 watches the pixel AP, stage 2 the image AP. Where a run has no validation data, or its number of epochs is
    small, stage 1 ends at a share of the epochs so that stage 2 has its own. Everything is part of the callback's
    state: a run that is resumed goes on as if it had not been interrupted.

    Args:
        patience: Epochs without improvement after which a stage ends.
        first_share: Share of `max_epochs` after which stage 1 ends at the latest.
    """

    def __init__(self, patience: int = 3, first_share: float = 2 / 3) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; give the number of epochs, at least 1")
        if not 0 < first_share <= 1:
            raise ValueError(
                f"first_share is {first_share}; give the share of the epochs for stage 1, above 0 and up to 1"
            )
        self.patience, self.first_share = patience, first_share
        self.best_value: float | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.stalled = 0

    def state_dict(self) -> dict[str, Any]:
        """Progress of the stage, with its best weights."""
        return {"best_value": self.best_value, "best_weights": self.best_weights, "stalled": self.stalled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the progress of a stage."""
        self.best_value, self.stalled = state_dict["best_value"], state_dict["stalled"]
        self.best_weights = state_dict["best_weights"]

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Compare the metric of this epoch with the best one."""
        value = trainer.callback_metrics.get(MONITORED[pl_module.model.stage])
        if trainer.sanity_checking or not trainer.training or value is None or math.isnan(float(value)):
            return
        if self.best_value is None or float(value) > self.best_value:
            self.best_value, self.stalled = float(value), 0
            parameters = pl_module.model.named_parameters()
            self.best_weights = {name: parameter.detach().cpu().clone() for name, parameter in parameters}
        else:
            self.stalled += 1
        if pl_module.model.stage == 2 and self.stalled >= self.patience:
            logger.info("Stage 2 ends after epoch %d.", trainer.current_epoch + 1)
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin stage 2 where stage 1 has stalled or its share of the epochs is used up.

        This happens when an epoch begins and not when one ends, because checkpoints are written in between.
        """
        if pl_module.model.stage == 1 and (self.stalled >= self.patience or self._share_is_used(trainer)):
            logger.info("Stage 1 ended after epoch %d; the image head trains from here on.", trainer.current_epoch)
            self._restore_best(pl_module)
            self.best_value, self.stalled = None, 0
            pl_module.start_stage_2()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the model, and the checkpoint of the last epoch, with the weights that validated best."""
        if not self.best_weights or trainer.interrupted:
            return
        self._restore_best(pl_module)
        callback = trainer.checkpoint_callback
        if isinstance(callback, ModelCheckpoint) and callback.monitor is None and callback.best_model_path:
            trainer.save_checkpoint(callback.best_model_path)

    def _share_is_used(self, trainer: Trainer) -> bool:
        epochs = trainer.max_epochs or -1
        # A run of one epoch has no second one to give to stage 2.
        return epochs > 1 and trainer.current_epoch >= min(epochs - 1, math.ceil(self.first_share * epochs))

    def _restore_best(self, pl_module: Any) -> None:
        if self.best_weights:
            pl_module.model.load_state_dict(self.best_weights, strict=False)
            self.best_weights = {}
