"""anomalib's own models: which class a name means, and how one is built to score, by checkpoint or as it is."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anomalib.models
import torch
from anomalib import LearningType
from anomalib.models import AnomalibModule

from anomalib_zsad.data.class_arguments import checked_arguments
from anomalib_zsad.models.components.checkpoint import STAMP, CheckpointError, open_checkpoint
from anomalib_zsad.models.components.lightning_mixin import ZeroShotMixin
from anomalib_zsad.scoring.anomalib_adapter import AnomalibAdapter
from anomalib_zsad.scoring.winclip_layout import mend_winclip

# Models that no image alone can be given to.
_NO_IMAGE_MODELS = {
    "VlmAd": "it asks a language model about a file and answers yes or no: there is no score to rank or to calibrate",
    "AiVad": "it scores videos",
    "Fuvas": "it scores videos",
}
UNIT_SCORES = ("WinClip", "AnomalyVFM")
"""Models of anomalib whose scores and maps are in [0, 1], so that a threshold of 0.5 can be tried."""


def anomalib_class(name: str) -> type[AnomalibModule] | None:
    """The class that a name means, where it is one of anomalib's own or another package's that is built like them.

    Args:
        name: As anomalib takes it (`WinClip`, `win_clip`), or a class path such as `package.module.Class`.

    Returns:
        `None` for names that mean no such class, and for zero-shot methods of this package's kind.
    """
    plain = name.lower().replace("_", "")
    found: Any = next(
        (getattr(anomalib.models, own, None) for own in anomalib.models.__all__ if own.lower() == plain), None
    )
    if found is None and "." in name:
        path, _, last = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(path), last, None)
        except ImportError:
            return None
    fits = inspect.isclass(found) and issubclass(found, AnomalibModule) and not issubclass(found, ZeroShotMixin)
    return found if fits else None


def build_adapter(
    cls: type[AnomalibModule], checkpoint: Path | None, arguments: Mapping[str, Any] | None = None
) -> AnomalibAdapter:
    """Build one of anomalib's models to score, on the CPU.

    Args:
        cls: Its class.
        checkpoint: What anomalib's training wrote; `None` for a model that needs no training.
        arguments: Further arguments of the class; those that a checkpoint knows it says itself.

    Raises:
        ValueError: If the model must be trained and no checkpoint is given, it scores no images, its arguments make no
            sense, or it cannot be built (weights that are not at hand, a package that is missing).
        CheckpointError: If the checkpoint is damaged, or of another model.
    """
    reason = _NO_IMAGE_MODELS.get(cls.__name__)
    if reason is not None:
        raise ValueError(f"{cls.__name__} cannot be used here: {reason}")
    if checkpoint is None and _learning_type(cls) is LearningType.ONE_CLASS:
        raise ValueError(_untrained(cls))
    given = checked_arguments(cls, arguments or {}, "--model.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = _new(cls, given) if checkpoint is None else _trained(cls, checkpoint, given)
    if checkpoint is None and module.learning_type is LearningType.ONE_CLASS:
        raise ValueError(_untrained(cls))
    mend_winclip(module)
    remarks = [] if checkpoint is None else _remarks(cls, checkpoint)
    return AnomalibAdapter(module, trained=checkpoint is not None, remarks=tuple(remarks))


def _untrained(cls: type) -> str:
    return f"{cls.__name__} learns from normal images before it scores any: give the --checkpoint of its training"


def _learning_type(cls: type[AnomalibModule]) -> LearningType | None:
    """What a class learns from, without building it; `None` where that depends on its arguments."""
    try:
        return cls.learning_type.fget(SimpleNamespace())  # type: ignore[attr-defined]
    except AttributeError:
        return None


def _new(cls: type[AnomalibModule], given: Mapping[str, Any]) -> AnomalibModule:
    if given.get("k_shot") and not given.get("few_shot_source"):
        raise ValueError(f"{cls.__name__} takes its examples from a folder here: give --model.few_shot_source")
    try:
        module = cls(**given)
        if getattr(module, "k_shot", 0):
            module.setup("predict")
    except (TypeError, ValueError, OSError, RuntimeError, ImportError) as error:
        raise ValueError(f"{cls.__name__} cannot be built: {_first_line(error)}") from error
    return module


def _trained(cls: type[AnomalibModule], checkpoint: Path, given: dict[str, Any]) -> AnomalibModule:
    """The model of a checkpoint; nothing is downloaded for a backbone whose weights the checkpoint holds."""
    content = open_checkpoint(checkpoint)
    if STAMP in content:
        method = content[STAMP]["method"]
        raise CheckpointError(f"'{checkpoint}' is a checkpoint of {method}; {cls.__name__} cannot use it")
    if "state_dict" not in content:
        keys = ", ".join(sorted(map(str, content))[:6]) or "nothing"
        raise CheckpointError(f"'{checkpoint}' is no checkpoint of anomalib's training. It holds: {keys}")
    if "pre_trained" in inspect.signature(cls).parameters:
        given = {"pre_trained": False, **given}
    try:
        return cls.load_from_checkpoint(checkpoint, map_location="cpu", **given)
    except (TypeError, ValueError, OSError, RuntimeError, ImportError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"'{checkpoint}' is no checkpoint of {cls.__name__}, or of one with other settings: {_first_line(error)}"
        ) from error


def _remarks(cls: type, checkpoint: Path) -> list[str]:
    """What a reader of figures must know of a trained model."""
    remarks = [f"{cls.__name__} was trained before, mostly on normal images of what it is used on: not zero-shot"]
    if open_checkpoint(checkpoint).get("hyper_parameters", {}).get("pre_trained") is False:
        remarks.append("its backbone was not pre-trained (pre_trained: false): random features")
    return remarks


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
