"""What decides scores, by name, so that a calibration is used with nothing else."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


_REMEDY = (
    "Use the model and the settings that it was made with, or make a new one of normal data with "
    "`anomalib-zsad calibrate`."
)


# Facts of a scorer that do not change scores, or that say again what hashes of weights say: a checkpoint's file may be
# written anew, a backbone's configuration moved, and weights be loaded in other ways. Engines answer alike at float32
# (within 1e-6, where 1e-4 is promised); in another precision the field `precision` names the engine.
_NOT_COMPARED = ("device", "arguments", "checkpoint_sha256", "backbone", "trained", "engine", "int8")
# What fields are where they are not said: calibrations were made before there was anything else.
_ELSE = {"model.precision": "float32", "model.tiles": "none"}


class CalibrationMismatchError(ValueError):
    """A calibration was made with another model or other settings."""


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one mapping of dotted names to plain JSON values (numbers, text, lists, booleans, null)."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple | list) else value
    return flat


def check_fingerprint(calibrated: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Make sure that two fingerprints are equal.

    Args:
        calibrated: Of the calibration.
        present: Of the model and the settings at hand.

    Raises:
        CalibrationMismatchError: If they differ; names each field with both values.
    """
    calibrated, present = ({**_ELSE, **fields} for fields in (calibrated, present))
    differing = [
        f"{name} was {_show(calibrated, name)} and is {_show(present, name)} now"
        for name in dict.fromkeys((*calibrated, *present))
        if calibrated.get(name) != present.get(name) or (name in calibrated) != (name in present)
    ]
    if differing:
        raise CalibrationMismatchError(f"the calibration does not fit: {'; '.join(differing)}. {_REMEDY}")


def _show(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return "not given"
    text = repr(fields[name])
    return text if len(text) <= 70 else f"{text[:67]}..."


def describe_model(module: Any) -> dict[str, Any]:
    """What decides the answers of a zero-shot model, except for the class name.

    Args:
        module: A Lightning module of this package, or an adapter that describes itself.
    """
    own = getattr(module, "description", None)
    if own is not None:
        return dict(own)
    transform = getattr(module.pre_processor, "transform", None)
    return description_of(type(module).__name__, module.model, transform, trained=bool(module.trained))


def description_of(name: str, model: Any, transform: Any, *, trained: bool) -> dict[str, Any]:
    """See `describe_model`.

    Args:
        name: Name of the method.
        model: Its torch model.
        transform: What prepares images for it; `None` for nothing.
        trained: Whether its weights come from a checkpoint.
    """
    return {
        "model": name,
        "trained": trained,
        "backbone": Path(model.backbone.config.name).name,  # of a file its name alone, as folders may name people
        "backbone_fingerprint": model.backbone.fingerprint,
        "image_size": model.backbone.image_size,
        "weights_sha256": weights_hash(model),
        "constants": {
            name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            for name, value in sorted(vars(model).items())
            if (isinstance(value, str | int | float | tuple) or is_dataclass(value))
            and not name.startswith("_")
            and name not in ("training", "class_name")
        },
        "preparation": " ".join(str(transform).split()),
    }


def weights_hash(model: "nn.Module") -> str:
    """SHA-256 over all tensors of a torch model but the frozen backbone's, which has a fingerprint of its own."""
    digest = hashlib.sha256()
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        if not name.startswith("backbone."):
            values = tensor.detach().float().cpu().contiguous()
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def image_fingerprint(module: Any, class_name: str) -> dict[str, Any]:
    """Fingerprint of a model that scores images of one class."""
    return flatten({"model": {**compared(describe_model(module)), "class_name": class_name}})


def compared(description: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a scorer's description of itself that decides scores."""
    return {name: value for name, value in description.items() if name not in _NOT_COMPARED}
