"""Bayes-PFL trains in two stages: all of it first, then the image head alone."""

import logging
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from .validation import IMAGE_AP, PIXEL_AP

logger = logging.getLogger(__name__)

# What decides whether an epoch of a stage was a better one.
MONITORED = {1: PIXEL_AP, 2: IMAGE_AP}


class TwoStageTraining(Callback):
    """Ends a stage when its validation metric stalls: the published rule.

    After each validation of a fit, that of stage 1 by `validation_pixel_AP`, that of stage 2 by `validation_image_AP`,
    each from a best of 0: a value at least as high as the best (ties included) is better, its weights are kept in
    memory, and the count starts again; any other, NaN among them, adds one to the count. The validation that finds the
    count at `patience` already, so the fourth in a row that is not better for the published 3, ends the stage. At the
    end of stage 1 the weights kept last come back and stage 2 begins with the next epoch; at the end of stage 2
    training stops, and the model keeps the weights of the last epoch.

    No share of the epochs is set aside for stage 2: it begins after `patience + 2` epochs at the earliest, and a run
    whose metric keeps rising never sees it. A run that is too short, or has no validation data, trains stage 1
    throughout and says so when it starts.

    Everything is part of the callback's state: a run that is resumed goes on as if it had not been interrupted.

    Args:
        patience: Validations in a row that are not better and still are waited through.
        stage_1_epochs: Epochs after which stage 1 ends at the latest, as nobody published; `None` for the published
            rule.
        restore_best: Leave the model, and the last checkpoint of a trainer that keeps one, with the weights kept last,
            as nobody published; `False` for those of the last epoch, as published.

    Raises:
        ValueError: An argument is below 1; or stage 1 ended and no validation of it gave a number.
    """

    def __init__(self, patience: int = 3, stage_1_epochs: int | None = None, restore_best: bool = False) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; give the number of validations to wait through, at least 1")
        if stage_1_epochs is not None and stage_1_epochs < 1:
            raise ValueError(
                f"stage_1_epochs is {stage_1_epochs}; give the most epochs of stage 1, at least 1, or null for the "
                "published rule"
            )
        self.patience, self.stage_1_epochs, self.restore_best = patience, stage_1_epochs, restore_best
        self.best_value = 0.0
        self.best_weights: dict[str, Tensor] = {}
        self.stalled = 0

    def state_dict(self) -> dict[str, Any]:
        """Progress of the stage, with its best weights."""
        return {"best_value": self.best_value, "best_weights": self.best_weights, "stalled": self.stalled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the progress of a stage."""
        self.best_value, self.stalled = state_dict["best_value"] or 0.0, state_dict["stalled"]
        self.best_weights = state_dict["best_weights"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Say what a run does whose length or data leave the published rule no room."""
        if pl_module.model.stage == 2 or self.stage_1_epochs is not None:
            return
        if not (trainer.enable_validation and any(trainer.num_val_batches)):
            logger.warning(
                "There are no validation data, by which stage 1 would end: all epochs train stage 1, and image scores "
                "use CLIP's own image feature. Give validation data, or stage_1_epochs, for stage 2 to begin."
            )
            return
        earliest = (self.patience + 2) * (trainer.check_val_every_n_epoch or 1)
        once = trainer.val_check_interval in {None, 1.0}  # a validation an epoch, or in several epochs
        if once and trainer.max_epochs is not None and 0 < trainer.max_epochs <= earliest:
            logger.warning(
                "max_epochs is %d, and with patience %d stage 2 begins after epoch %d at the earliest: all epochs "
                "train stage 1, and image scores use CLIP's own image feature. Give more epochs, or stage_1_epochs.",
                trainer.max_epochs,
                self.patience,
                earliest,
            )

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Compare the metric of this validation with the best one."""
        name = MONITORED[pl_module.model.stage]
        if trainer.sanity_checking or trainer.state.fn != "fit" or name not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[name])
        if value >= self.best_value:  # never so for NaN
            self.best_value, self.stalled = value, 0
            parameters = pl_module.model.named_parameters()
            self.best_weights = {name: parameter.detach().cpu().clone() for name, parameter in parameters}
            return
        # Quirk kept for parity: the count is not set back when stage 2 begins, and the stop needs the count itself, so
        # a stage 2 that only ever gives NaN never stops.
        ends = self.stalled == self.patience
        self.stalled += 1
        if ends and pl_module.model.stage == 2:
            logger.info("Stage 2 ends after epoch %d.", trainer.current_epoch + 1)
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin stage 2 where stage 1 has ended.

        This happens when an epoch begins and not when one ends, because checkpoints are written in between: as
        published, the checkpoint of an epoch holds the weights of that epoch.
        """
        if pl_module.model.stage == 2 or not (self._stalled() or self._has_used_its_epochs(trainer)):
            return
        logger.info("Stage 1 ended after epoch %d; the image head trains from here on.", trainer.current_epoch)
        self._restore_best(pl_module, trainer.current_epoch)
        self.best_value = 0.0
        pl_module.start_stage_2()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Put the weights kept last back where stage 1 ended with the last epoch, or where it was asked for."""
        if trainer.interrupted or not self.best_weights:
            return
        if self.restore_best:
            self._restore_best(pl_module, trainer.current_epoch)
            callback = trainer.checkpoint_callback
            if isinstance(callback, ModelCheckpoint) and callback.save_top_k == 1 and callback.best_model_path:
                trainer.save_checkpoint(callback.best_model_path)
        elif pl_module.model.stage == 1 and self._stalled():
            # The published run goes back to them in memory too, and writes no file of it. Its stage is 2 by then, with
            # an image head that nothing trained; here the stage stays 1.
            self._restore_best(pl_module, trainer.current_epoch)

    def _stalled(self) -> bool:
        return self.stalled > self.patience

    def _has_used_its_epochs(self, trainer: Trainer) -> bool:
        return self.stage_1_epochs is not None and trainer.current_epoch >= self.stage_1_epochs

    def _restore_best(self, pl_module: Any, epochs: int) -> None:
        """Load the weights kept last; a stage that ended by its epochs and never validated keeps what it has."""
        if self.best_weights:
            pl_module.model.load_state_dict(self.best_weights, strict=False)
        elif self._stalled():
            raise ValueError(
                f"stage 1 ends after epoch {epochs}, and none of its validations gave a {MONITORED[1]}: there are no "
                "weights to go back to. Validate on categories with normal and abnormal images and masks"
            )
