"""Reading what was trained: Lightning checkpoints of this package, and the published files.

Everything is read with `weights_only=True`.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_zsad.backbone.config import DEMO
from anomalib_zsad.backbone.frozen_clip import FrozenCLIP
from anomalib_zsad.backbone.weights import SUFFIXES
from anomalib_zsad.data.class_name import check_class_name

from .safe_checkpoint import SUFFIX, read_safe_checkpoint

STAMP = "anomalib_zsad"

DEFAULT_BACKBONE = "ViT-L-14-336"
DEFAULT_PRETRAINED = "openai"
AUTO = "auto"
"""Value of `pretrained` that leaves it to the checkpoint."""

# What tells the path of a configuration or of weights from the name of either.
_FILES = (".json", *SUFFIXES)


class CheckpointError(ValueError):
    """A checkpoint cannot be used, and the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: The file.
        state: Tensors (and extra states) by name: of the torch model, or as published.
        published_key: Key of a published file, such as `"MyModel"`; `None` for a Lightning checkpoint.
        stamp: What this package wrote beside the weights: method, backbone, layers, arguments, auxiliary data.
        others: Tensors by name that are of the module around the torch model, such as thresholds.
    """

    path: Path
    state: Mapping[str, Any]
    published_key: str | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path, method: str, published_key: str | None = None) -> Checkpoint:
    """Read a checkpoint and make sure that it is one of the method's.

    Args:
        path: A Lightning checkpoint or a published file.
        method: Name of the method's class, as stamped on its checkpoints.
        published_key: Key under which the method's published files keep the weights; `None` if it has none.

    Raises:
        FileNotFoundError: If there is no file.
        CheckpointError: If the file is damaged, unsafe, or of another method.
    """
    path, content = Path(path), open_checkpoint(path)
    if published_key is not None and published_key in content:
        return Checkpoint(path, _without_prefix(content[published_key]), published_key)
    if STAMP not in content or "state_dict" not in content:
        keys = ", ".join(sorted(map(str, content))[:6]) or "nothing"
        published = f", nor the published file, which has the key '{published_key}'" if published_key else ""
        raise CheckpointError(
            f"'{path}' is no checkpoint of {method}: not one that training with this package writes{published}. It "
            f"holds: {keys}"
        )
    stamp = content[STAMP]
    if stamp["method"] != method:
        raise CheckpointError(f"'{path}' is a checkpoint of {stamp['method']}; {method} cannot use it")
    prefix = "model."
    state = {
        name.removeprefix(prefix): value for name, value in content["state_dict"].items() if name.startswith(prefix)
    }
    others = {name: value for name, value in content["state_dict"].items() if not name.startswith(prefix)}
    return Checkpoint(path, state, None, stamp, others)


def open_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """The content of a checkpoint file, whatever method it is of.

    Raises:
        FileNotFoundError: If there is no file.
        CheckpointError: If it is damaged, or holds more than weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at '{path}'")
    return _load(path)


def _load(path: Path) -> Mapping[str, Any]:
    from anomalib.utils.serialization import anomalib_safe_globals

    try:
        if path.suffix == SUFFIX:
            return read_safe_checkpoint(path)
        with anomalib_safe_globals():
            # Mapped, as only what is asked for is read then; files of torch before 1.6 are no archives and cannot be.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
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
        f"({type(error).__name__})"
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
            raise CheckpointError(
                f"'{checkpoint.path}' lacks '{name}', which the model needs: it is incomplete or of another method"
            )
        if isinstance(value, Tensor) and tuple(value.shape) != tuple(state[name].shape):
            raise CheckpointError(
                f"'{checkpoint.path}' holds '{name}' of shape {tuple(state[name].shape)}, and the model over backbone "
                f"'{backbone}' has {tuple(value.shape)}: it was trained over another backbone or with other settings"
            )
    model.load_state_dict({name: state[name] for name in wanted})


@dataclass(frozen=True)
class Foundation:
    """What a model is built on: as a checkpoint says, as an argument says, else by default.

    Attributes:
        backbone: `demo`, an open_clip model name, or the path of an open_clip JSON configuration.
        pretrained: open_clip tag or weights file; `None` for random weights.
        image_size: Side of the square input in pixels; `None` for what suits the backbone.
        layers: Vision blocks; `None` for the method's own choice.
        class_name: What images show, where the data say nothing; `None` for "object".
    """

    backbone: str
    pretrained: str | None
    image_size: int | None
    layers: tuple[int, ...] | None
    class_name: str | None


def settle(
    saved: Checkpoint | None,
    backbone: str | None,
    pretrained: str | None,
    image_size: int | None,
    layers: tuple[int, ...] | None,
    class_name: str | None,
) -> Foundation:
    """What to build a model on, from its checkpoint and the arguments that were given.

    Args:
        saved: The checkpoint; `None` for a model to be trained.
        backbone: `None` for the checkpoint's, else `DEFAULT_BACKBONE`.
        pretrained: `AUTO` for the checkpoint's, else `DEFAULT_PRETRAINED`.
        image_size: `None` for the checkpoint's.
        layers: `None` for the checkpoint's.
        class_name: `None` for the checkpoint's.

    Raises:
        CheckpointError: If an argument contradicts the checkpoint; says both values.
        TypeError: If the class name is no string.
        ValueError: If it is empty.
    """
    if class_name is not None:
        check_class_name(class_name)
    stamp = saved.stamp if saved is not None else {}
    trained_on = stamp.get("backbone", {})
    known = trained_on.get("name")
    # A configuration may lie in another place now; whether it is the same backbone is told by its fingerprint.
    moved = bool(known and backbone) and all(str(path).endswith(".json") for path in (known, backbone))
    if known and backbone not in (None, known) and not moved:
        raise _contradiction(saved, "backbone", backbone, known)
    for name, given in (("image_size", image_size), ("layers", layers)):
        if given is not None and name in stamp and _plain(given) != _plain(stamp[name]):
            raise _contradiction(saved, name, given, stamp[name])
    tag = trained_on.get("pretrained", DEFAULT_PRETRAINED) if pretrained == AUTO else pretrained
    chosen = layers or stamp.get("layers")
    if known and backbone is None:
        _check_there(saved, "backbone", known)
    if known and pretrained == AUTO:
        _check_there(saved, "pretrained", tag)
    return Foundation(
        backbone=backbone or known or DEFAULT_BACKBONE,
        pretrained=tag,
        image_size=image_size or stamp.get("image_size"),
        layers=None if chosen is None else tuple(chosen),
        class_name=class_name or stamp.get("class_name"),
    )


def settle_shape(
    saved: Checkpoint | None,
    given: Mapping[str, int | None],
    known: Mapping[str, int],
    defaults: Mapping[str, int | None],
) -> dict[str, int | None]:
    """Arguments that decide the shapes of a model's tensors, from its checkpoint and those that were given.

    Args:
        saved: The checkpoint; `None` for a model to be trained.
        given: The arguments by name; `None` for the checkpoint's, else the default.
        known: Those that the checkpoint's tensors and stamp tell.
        defaults: Their defaults.

    Raises:
        CheckpointError: If an argument contradicts the checkpoint; says both values.
    """
    for name, value in given.items():
        if value is not None and name in known and value != known[name]:
            raise _contradiction(saved, name, value, known[name])
    return {name: known.get(name, defaults[name] if value is None else value) for name, value in given.items()}


def _check_there(saved: Checkpoint | None, name: str, value: str | None) -> None:
    """Refuse a configuration or weights file that the checkpoint names and that is gone.

    Raises:
        CheckpointError: If there is no such file; says how to give its new place.
    """
    is_path = value is not None and (Path(value).suffix in _FILES or len(Path(value).parts) > 1)
    if is_path and not Path(str(value)).is_file():
        path = "" if saved is None else saved.path
        raise CheckpointError(
            f"'{path}' was trained with {name} '{value}', and there is no such file here; give its new place as {name}"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _contradiction(saved: Checkpoint | None, name: str, given: Any, trained: Any) -> CheckpointError:
    path = "" if saved is None else saved.path
    return CheckpointError(f"{name} is given as {given!r}, and '{path}' was trained with {trained!r}; leave it out")


def check_backbone(checkpoint: Checkpoint, backbone: FrozenCLIP) -> None:
    """Make sure that a checkpoint was trained over this backbone; published files do not say.

    Args:
        checkpoint: The checkpoint.
        backbone: What the model stands on.

    Raises:
        CheckpointError: If it was trained over another one.
    """
    trained_on, name = checkpoint.stamp.get("backbone"), backbone.config.name
    if not trained_on or trained_on["fingerprint"] == backbone.fingerprint:
        return
    if name == DEMO == trained_on["name"]:
        # Checkpoints over the first embedded backbone name no version.
        version = trained_on.get("version") or "1"
        if backbone.version is not None and version != backbone.version:
            raise CheckpointError(
                f"'{checkpoint.path}' was trained over version {version} of the embedded backbone 'demo', and its "
                f"weights here are of version {backbone.version}; train it again"
            )
    raise CheckpointError(
        f"'{checkpoint.path}' was trained over backbone '{trained_on['name']}' ({trained_on['fingerprint']}), and "
        f"this model has '{name}' with other weights ({backbone.fingerprint}); give the weights it was trained over as "
        "pretrained"
    )
