"""Bayes-PFL trains in two stages: prompts first, then the image head alone."""

import logging
import math
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from .validation import IMAGE_FIGURE, PIXEL_FIGURE

logger = logging.getLogger(__name__)

MONITORED = {1: PIXEL_FIGURE, 2: IMAGE_FIGURE}


class NoValidationFigureError(ValueError):
    """Validation never gave a number to choose weights by."""


class TwoStageTraining(Callback):
    """The published stage rule: what an epoch is worth, when a stage ends, and which weights come back.

    Stage 1 goes by the pixel AP, stage 2 by the image AP (see `anomalib_zsad.models.bayes_pfl.validation`), each with a
    best of its own, beginning at 0. After each validation, *better* means at least as good as the best so far. A better
    epoch's weights are kept and the count of others begins anew. Another one ends the stage if there were `patience` in
    a row before it: with the published 3 the fourth does. When stage 1 ends, all weights of the last better epoch come
    back and stage 2 begins; when stage 2 ends, so does training, with the weights of its last epoch.

    No share of the epochs is set aside: a run whose pixel AP keeps rising never sees stage 2, and says so. Without
    validation data it does not either.

    Everything is part of the callback's state: a run that is resumed goes on as if it had not been interrupted.

    Args:
        patience: Epochs in a row that are not better and do not end a stage yet; the next one does.
        stage_1_epochs: End stage 1 after so many epochs at the latest; `None` for no such limit, as published.

    Raises:
        ValueError: If a number makes no sense.
    """

    def __init__(self, patience: int = 3, stage_1_epochs: int | None = None) -> None:
        if patience < 0:
            raise ValueError(f"patience is {patience}; give the number of epochs, at least 0")
        if stage_1_epochs is not None and stage_1_epochs < 1:
            raise ValueError(f"stage_1_epochs is {stage_1_epochs}; give the number of epochs, at least 1")
        self.patience, self.stage_1_epochs = patience, stage_1_epochs
        self.best_value = 0.0
        self.best_weights: dict[str, Tensor] = {}
        self.stalled = 0
        self.ended = False
        self.kept_in_stage = False

    def state_dict(self) -> dict[str, Any]:
        """Progress of the stage, with its best weights."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the progress of a stage."""
        for name in _STATE:
            setattr(self, name, state_dict[name])

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Compare the figure of this epoch with the best one."""
        value = trainer.callback_metrics.get(MONITORED[pl_module.model.stage])
        if trainer.state.fn != "fit" or trainer.sanity_checking or value is None or self.ended:
            return
        stage = pl_module.model.stage
        if float(value) >= self.best_value:
            self.best_value, self.stalled, self.kept_in_stage = float(value), 0, True
            parameters = pl_module.model.named_parameters()
            self.best_weights = {name: parameter.detach().cpu().clone() for name, parameter in parameters}
            return
        # Quirk kept for parity: until stage 2 has kept something, a figure that is no number does not count in it.
        if stage == 2 and math.isnan(float(value)) and not self.kept_in_stage:
            return
        self.ended = self.stalled == self.patience
        self.stalled += not self.ended
        if self.ended and stage == 2:
            logger.info("Stage 2 ends after epoch %d.", trainer.current_epoch + 1)
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End stage 1 where its number of epochs is limited."""
        limit = self.stage_1_epochs
        if pl_module.model.stage == 1 and limit is not None and trainer.current_epoch + 1 >= limit:
            self.ended = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin stage 2 where stage 1 has ended.

        This happens when an epoch begins and not when one ends, because checkpoints are written in between, of the
        epoch's own weights.
        """
        if pl_module.model.stage == 1 and self.ended:
            logger.info("Stage 1 ended after epoch %d; the image head trains from here on.", trainer.current_epoch)
            self._restore_best(pl_module)
            self.best_value, self.stalled, self.ended, self.kept_in_stage = 0.0, 0, False, False
            pl_module.start_stage_2()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Say what a run has not seen; the weights that stage 1 ended with come back in the last epoch too."""
        if pl_module.model.stage == 2 or trainer.interrupted:
            return
        if self.ended:
            self._restore_best(pl_module)
        logger.warning(
            "Training ended in stage 1 after %d epochs: the image head was never trained, and images are scored "
            "without it, as the published run does whose pixel AP keeps rising. More epochs, or stage_1_epochs, give "
            "stage 2 its turn.",
            trainer.current_epoch,
        )

    def _restore_best(self, pl_module: Any) -> None:
        if self.best_weights:
            pl_module.model.load_state_dict(self.best_weights, strict=False)
        elif self.stage_1_epochs is None:
            raise NoValidationFigureError(
                f"validation gave no pixel AP in {self.patience + 1} epochs, so there are no weights to go on with: "
                "validation data need abnormal images with masks"
            )


_STATE = ("best_value", "best_weights", "stalled", "ended", "kept_in_stage")
