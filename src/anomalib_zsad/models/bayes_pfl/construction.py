"""How the torch model of Bayes-PFL is made, for training and for scoring: the Lightning module is not needed."""

from collections.abc import Mapping
from pathlib import Path

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.components.checkpoint import (
    AUTO,
    Checkpoint,
    Foundation,
    check_backbone,
    load_parameters,
    read_checkpoint,
    settle,
    settle_shape,
)
from anomalib_zsad.models.components.class_names import DEFAULT_CLASS_NAME
from anomalib_zsad.models.components.proportion import count_at, length_at

from .published import PUBLISHED_KEY, from_published, infer_arguments, infer_stage
from .torch_model import BayesPFLModel

# Published constants of the map, in pixels at 518 x 518.
BLUR_SIGMA, TOP_K = 8.0, 2000
# Published sizes of the prompts and flows.
SHAPE: dict[str, int | None] = {"num_prompts": 3, "context_length": 5, "state_length": 5, "num_flows": 10}


def frozen_backbone(base: Foundation) -> FrozenCLIP:
    """The backbone as the published weights need it."""
    return FrozenCLIP(
        base.backbone, base.pretrained, base.image_size, activation="gelu", position_resize="bicubic_antialias"
    )


def new_model(
    frozen: FrozenCLIP,
    base: Foundation,
    shape: Mapping[str, int | None],
    *,
    num_samples: int = 10,
    blur_sigma: float | None = None,
    map_weight: float = 0.5,
    top_k: int | None = None,
) -> BayesPFLModel:
    """An untrained model; see the arguments of `BayesPFL`.

    Args:
        frozen: Its backbone.
        base: What else it is built on.
        shape: Arguments that decide the shapes of its tensors, as `settle_shape` gives them.
        num_samples: See `BayesPFL`.
        blur_sigma: See `BayesPFL`.
        map_weight: See `BayesPFL`.
        top_k: See `BayesPFL`.
    """
    return BayesPFLModel(
        frozen,
        base.layers or frozen.config.default_layers,
        num_samples=num_samples,
        class_name=base.class_name or DEFAULT_CLASS_NAME,
        blur_sigma=length_at(frozen.image_size, BLUR_SIGMA) if blur_sigma is None else blur_sigma,
        map_weight=map_weight,
        top_k=count_at(frozen.image_size, TOP_K) if top_k is None else top_k,
        **shape,  # type: ignore[arg-type]
    )


def load_weights(model: BayesPFLModel, saved: Checkpoint) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        CheckpointError: If they do not fit.
    """
    state = saved.state
    if saved.published_key:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        state = from_published(saved.state, parameters) | {"_extra_state": {"stage": infer_stage(saved.path)}}
    else:
        check_backbone(saved, model.backbone)
    load_parameters(model, state, saved, model.backbone.config.name)


def model_of(checkpoint: Path) -> tuple[BayesPFLModel, Foundation]:
    """The model of a checkpoint, and what it is built on; everything is as the checkpoint says, else by default.

    Raises:
        CheckpointError: If the checkpoint is damaged, or of another method or backbone.
        WeightsUnavailableError: If the backbone's weights are not to be had.
    """
    saved = read_checkpoint(checkpoint, "BayesPFL", PUBLISHED_KEY)
    base = settle(saved, None, AUTO, None, None, None)
    frozen = frozen_backbone(base)
    model = new_model(frozen, base, settle_shape(saved, dict.fromkeys(SHAPE), shape_of(saved), SHAPE))
    load_weights(model, saved)
    return model, base


def shape_of(saved: Checkpoint) -> dict[str, int]:
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
