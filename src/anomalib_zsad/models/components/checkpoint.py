"""Reading what was trained: Lightning checkpoints of this package, and the published files.

Everything is read with ``weights_only=True``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

STAMP = "anomalib_zsad"


class CheckpointError(ValueError):
    """A checkpoint cannot be used, and the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: The file.
        state: Tensors (and extra states) by name: of the torch model, or as published.
        published_key: Key of a published file, such as ``"MyModel"``; ``None`` for a Lightning checkpoint.
        stamp: What this package wrote beside the weights: method, backbone, layers, arguments, auxiliary data.
    """

    path: Path
    state: Mapping[str, Any]
    published_key: str | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path, method: str, published_key: str) -> Checkpoint:
    """Read a checkpoint and make sure that it is one of the method's.

    Args:
        path: A Lightning checkpoint or a published file.
        method: Name of the method's class, as stamped on its checkpoints.
        published_key: Key under which the method's published files keep the weights.

    Raises:
        FileNotFoundError: There is no file.
        CheckpointError: The file is damaged, unsafe, or of another method.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"There is no checkpoint at '{path}'."
        raise FileNotFoundError(msg)
    content = _load(path)
    if published_key in content:
        return Checkpoint(path, _without_prefix(content[published_key]), published_key)
    if STAMP not in content or "state_dict" not in content:
        keys = ", ".join(sorted(map(str, content))[:6]) or "nothing"
        msg = (
            f"'{path}' is no checkpoint of {method}: neither one that training with this package writes, nor the "
            f"published file, which has the key '{published_key}'. It holds: {keys}."
        )
        raise CheckpointError(msg)
    stamp = content[STAMP]
    if stamp["method"] != method:
        msg = f"'{path}' is a checkpoint of {stamp['method']}; {method} cannot use it."
        raise CheckpointError(msg)
    prefix = "model."
    state = {
        name.removeprefix(prefix): value for name, value in content["state_dict"].items() if name.startswith(prefix)
    }
    return Checkpoint(path, state, None, stamp)


def _load(path: Path) -> Mapping[str, Any]:
    from anomalib.utils.serialization import anomalib_safe_globals

    try:
        with anomalib_safe_globals():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    except Exception as error:  # pickle.UnpicklingError, without importing pickle
        if type(error).__name__ != "UnpicklingError":
            raise
        raise CheckpointError(_unreadable(path, error)) from error
    return content if isinstance(content, Mapping) else {}


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"'{path}' cannot be read as a checkpoint: it is damaged, incomplete, or holds more than weights "
        f"({type(error).__name__})."
    )


def _without_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_parameters(model: nn.Module, state: Mapping[str, Any], checkpoint: Checkpoint, backbone: str) -> None:
    """Load a state dict into a torch model, naming the first thing that does not fit.

    Raises:
        CheckpointError: A tensor is missing or has another shape.
    """
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in state:
            msg = f"'{checkpoint.path}' lacks '{name}', which the model needs: it is incomplete or of another method."
            raise CheckpointError(msg)
        if isinstance(value, Tensor) and tuple(value.shape) != tuple(state[name].shape):
            msg = (
                f"'{checkpoint.path}' holds '{name}' of shape {tuple(state[name].shape)}, and the model over backbone "
                f"'{backbone}' has {tuple(value.shape)}: it was trained over another backbone or with other settings."
            )
            raise CheckpointError(msg)
    model.load_state_dict({name: state[name] for name in wanted})


def check_backbone(checkpoint: Checkpoint, name: str, fingerprint: str) -> None:
    """Make sure that a checkpoint was trained over this backbone; published files do not say.

    Raises:
        CheckpointError: It was trained over another one.
    """
    trained_on = checkpoint.stamp.get("backbone")
    if trained_on and trained_on["fingerprint"] != fingerprint:
        msg = (
            f"'{checkpoint.path}' was trained over backbone '{trained_on['name']}', and this model has '{name}' with "
            f"other weights. Build the model with backbone='{trained_on['name']}' and the weights it was trained with."
        )
        raise CheckpointError(msg)
