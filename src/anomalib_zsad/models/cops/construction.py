"""How the torch model of CoPS is made, for training and for scoring: the Lightning module is not needed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.components.checkpoint import (
    AUTO,
    Checkpoint,
    CheckpointError,
    Foundation,
    check_backbone,
    load_parameters,
    read_checkpoint,
    settle,
    settle_shape,
)
from anomalib_zsad.models.components.class_names import DEFAULT_CLASS_NAME
from anomalib_zsad.models.components.proportion import length_at
from anomalib_zsad.outputs.terminal import visible

from .constants import Constants
from .published import PUBLISHED_KEY, from_published, infer_arguments, unknown_names
from .torch_model import CoPSModel

logger = logging.getLogger(__name__)

# Published smoothing of the map, in pixels at 518 x 518.
BLUR_SIGMA = 4.0

# Published sizes of the prompts; how many text blocks have deep ones follows from the text tower.
SHAPE: dict[str, int | None] = {
    "context_length": 6,
    "state_length": 6,
    "class_length": 2,
    "deep_depth": None,
    "deep_length": 4,
    "extractor_heads": 12,
}

# Published constants that decide answers of a file trained on MVTec AD; the defaults are those of training on VisA.
TRAINED_ON_MVTEC = {"neighbourhood": 3, "alpha": 0.35, "beta": 1.0}


def frozen_backbone(base: Foundation) -> FrozenCLIP:
    """The backbone as the published weights need it."""
    return FrozenCLIP(
        base.backbone, base.pretrained, base.image_size, activation="quick_gelu", position_resize="bilinear"
    )


def new_model(
    frozen: FrozenCLIP,
    base: Foundation,
    shape: Mapping[str, int | None],
    *,
    num_samples: int = 10,
    blur_sigma: float | None = None,
    constants: Mapping[str, Any] | None = None,
) -> CoPSModel:
    """An untrained model; see the arguments of `CoPS`.

    Args:
        frozen: Its backbone.
        base: What else it is built on.
        shape: Arguments that decide the shapes of its tensors, as `settle_shape` gives them.
        num_samples: See `CoPS`.
        blur_sigma: See `CoPS`.
        constants: Those of `neighbourhood` to `reconstruction` that are given; `None` is not given.
    """
    return CoPSModel(
        frozen,
        base.layers,
        num_samples=num_samples,
        class_name=base.class_name or DEFAULT_CLASS_NAME,
        blur_sigma=length_at(frozen.image_size, BLUR_SIGMA) if blur_sigma is None else blur_sigma,
        constants={name: value for name, value in (constants or {}).items() if value is not None},
        **shape,  # type: ignore[arg-type]
    )


def load_weights(model: CoPSModel, saved: Checkpoint) -> None:
    """Give a model the weights of a checkpoint; what a published file leaves to be assumed is logged.

    Raises:
        CheckpointError: If they do not fit.
    """
    state = saved.state
    if saved.published_key:
        parameters = dict(model.named_parameters())
        unknown = unknown_names(saved.state, parameters)
        if unknown:
            raise CheckpointError(
                f"'{saved.path}' holds '{unknown[0]}', which CoPS does not have: it is of another method"
            )
        _say_assumed(saved.path.name, model)
        state = from_published(saved.state, parameters) | {"_extra_state": model.get_extra_state()}
    else:
        check_backbone(saved, model.backbone)
    load_parameters(model, state, saved, model.backbone.config.name)


def _say_assumed(file: str, model: CoPSModel) -> None:
    """Say which constants of a published file, which holds none, are the defaults because nobody gave them."""
    assumed = {name: getattr(Constants(), name) for name in TRAINED_ON_MVTEC if name not in model.given_constants}
    if not assumed:
        return
    options = " ".join(f"--model.{name} {TRAINED_ON_MVTEC[name]}" for name in assumed)
    logger.warning(
        "%s is a published file, which holds no constants: %s assumed, as for one that was trained on VisA. One that "
        "was trained on MVTec AD needs %s (arguments of CoPS in Python); the protocol paper of evaluate sets its own.",
        visible(file),
        ", ".join(f"{name} {value}" for name, value in assumed.items()) + (" is" if len(assumed) == 1 else " are"),
        options,
    )


def model_of(checkpoint: Path) -> tuple[CoPSModel, Foundation]:
    """The model of a checkpoint, and what it is built on; everything is as the checkpoint says, else by default.

    Raises:
        CheckpointError: If the checkpoint is damaged, or of another method or backbone.
        WeightsUnavailableError: If the backbone's weights are not to be had.
    """
    saved = read_checkpoint(checkpoint, "CoPS", PUBLISHED_KEY)
    base = settle(saved, None, AUTO, None, None, None)
    frozen = frozen_backbone(base)
    model = new_model(frozen, base, settle_shape(saved, dict.fromkeys(SHAPE), shape_of(saved), SHAPE))
    load_weights(model, saved)
    return model, base


def shape_of(saved: Checkpoint) -> dict[str, int]:
    """Hyper-parameters that a checkpoint was trained with, read from its shapes and its stamp."""
    state, hidden = saved.state, saved.stamp.get("arguments", {})
    try:
        if saved.published_key:
            return infer_arguments(state)
        deep = [value for name, value in state.items() if name.startswith("prompts.deep.")]
        state_length, class_length = state["prototypes.normal"].shape[0], hidden["class_length"]
        return {
            "context_length": state["prompts.normal"].shape[0] - state_length - class_length,
            "state_length": state_length,
            "class_length": class_length,
            "deep_depth": len(deep),
            "deep_length": deep[0].shape[0] if deep else 0,
            "extractor_heads": hidden["extractor_heads"],
        }
    except (KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"'{saved.path}' lacks {error}, which every checkpoint of CoPS has: it is incomplete"
        ) from error
