"""Build the model to be evaluated, and find out what it was trained on."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.data.set_names import AuxiliarySet, canonical_name
from anomalib_zsad.evaluation.evaluate import Subject
from anomalib_zsad.models.components.checkpoint import read_checkpoint
from anomalib_zsad.models.known_weights import recognise
from anomalib_zsad.models.methods import published_key
from anomalib_zsad.scoring.build import build_model
from anomalib_zsad.scoring.engine_options import PLAIN, EngineOptions
from anomalib_zsad.scoring.hosted_module import class_of
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions

# Sets whose categories anomalib lists, for checkpoints that name categories and no set.
_LISTED_SETS = {"MVTecAD": "mvtecad", "VisA": "visa", "BTAD": "btech", "MPDD": "mpdd"}


def build_subject(
    checkpoint: Path | None,
    method: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    auxiliary_set: str | None = None,
    device: str = "auto",
    engine: EngineOptions = PLAIN,
    tiles: TileOptions = WHOLE,
) -> Subject:
    """Build a model for evaluation.

    Args:
        checkpoint: See `anomalib_zsad.scoring.build.build_model`.
        method: See there.
        arguments: See there.
        auxiliary_set: Name of the set it was trained on; `None` to find out.
        device: See there.
        engine: See there.
        tiles: See there.

    Raises:
        ValueError: As `build_model`.
        FileNotFoundError: As `build_model`.
    """
    built = build_model(checkpoint, method, arguments, device, engine, tiles)
    named = AuxiliarySet(canonical_name(auxiliary_set)) if auxiliary_set else None
    name = "" if checkpoint is None else checkpoint.name
    module = built.module
    known = find_auxiliary(module, checkpoint)
    return Subject(
        model=module.model,
        transform=module.pre_processor.transform,
        method=built.method,
        checkpoint=name,
        auxiliary=named or known,
        module=module,
        backbone=describe_model(module).get("backbone", ""),
        remarks=getattr(module, "remarks", ()),
    )


def find_auxiliary(module: Any, checkpoint: Path | None) -> AuxiliarySet | None:
    """What a checkpoint was trained on: as stamped on it, or as known of published files; none if unknown.

    Args:
        module: The model; of anomalib's own nothing is known.
        checkpoint: Its file.
    """
    if checkpoint is None or getattr(module, "own_scale", False):
        return None
    cls = class_of(module)
    stamp = read_checkpoint(checkpoint, cls.__name__, published_key(cls)).stamp
    categories = tuple(stamp.get("auxiliary") or ())
    if categories:
        return AuxiliarySet(stamp.get("auxiliary_set") or listed_set(categories), categories)
    known, _ = recognise(checkpoint)
    return AuxiliarySet(known.auxiliary_set) if known is not None and known.auxiliary_set else None


def listed_set(categories: Sequence[str]) -> str | None:
    """The set that has all these categories, if anomalib lists one."""
    for name, module in _LISTED_SETS.items():
        listed = importlib.import_module(f"anomalib.data.datasets.image.{module}").CATEGORIES
        if set(categories) <= set(listed):
            return name
    return None
