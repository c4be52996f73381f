"""A trained model of this package's own methods without its Lightning module: what scoring needs, and no more.

The Lightning modules stand on anomalib's models, whose import takes several times as long as everything else that comes
before a first answer.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from anomalib_zsad.calibration.fingerprint import description_of
from anomalib_zsad.models.components.checkpoint import STAMP, open_checkpoint
from anomalib_zsad.models.components.clip_preparation import CLIPPreparation
from anomalib_zsad.scoring.hosted_module import StandIn

# Each method's package: its `construction` makes the torch model, its `published` knows published files.
_CONSTRUCTIONS = {
    "BayesPFL": "anomalib_zsad.models.bayes_pfl",
    "CoPS": "anomalib_zsad.models.cops",
}


class TrainedModel(StandIn):
    """Stands where commands that only score expect a Lightning module.

    Args:
        name: Name of the method.
        model: Its torch model, with the weights of a checkpoint.
        class_name: What images show, where nothing else says it.
    """

    trained = True

    def __init__(self, name: str, model: Any, class_name: str | None) -> None:
        self.name, self.model, self.class_name = name, model, class_name
        self.pre_processor = SimpleNamespace(transform=CLIPPreparation(model.backbone.image_size))
        self.description: dict[str, Any] = description_of(name, model, self.pre_processor.transform, trained=True)


def own_method(checkpoint: Path, method: str | None) -> str | None:
    """The method of this package that a checkpoint is to be used by; `None` where it is one of others.

    Args:
        checkpoint: The file.
        method: The method that was named; `None` for what the checkpoint says.

    Raises:
        CheckpointError: If the file is damaged, or holds more than weights.
    """
    if method is not None:
        plain = method.lower().replace("_", "")
        return next((name for name in _CONSTRUCTIONS if name.lower() == plain), None)
    content = open_checkpoint(checkpoint)
    stamp: Mapping[str, Any] | None = content.get(STAMP)
    if stamp is not None:
        return stamp["method"] if stamp["method"] in _CONSTRUCTIONS else None
    keys = {name: importlib.import_module(f"{path}.published").PUBLISHED_KEY for name, path in _CONSTRUCTIONS.items()}
    return next((name for name, key in keys.items() if key in content), None)


def trained_model(name: str, checkpoint: Path) -> TrainedModel:
    """The model of a checkpoint.

    Args:
        name: The method, as `own_method` gives it.
        checkpoint: The file.

    Raises:
        CheckpointError: If the checkpoint is damaged, or of another method or backbone.
        WeightsUnavailableError: If the backbone's weights are not to be had.
    """
    construction = importlib.import_module(f"{_CONSTRUCTIONS[name]}.construction")
    model, foundation = construction.model_of(checkpoint)
    return TrainedModel(name, model, foundation.class_name)
