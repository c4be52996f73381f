"""Build the model to be evaluated, and find out what it was trained on."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from anomalib_zsad.data.set_names import AuxiliarySet, canonical_name
from anomalib_zsad.evaluation.evaluate import Subject
from anomalib_zsad.models.components.checkpoint import read_checkpoint
from anomalib_zsad.models.known_weights import recognise
from anomalib_zsad.models.methods import find_method
from anomalib_zsad.scoring.device import resolve_device

# Sets whose categories anomalib lists, for checkpoints that name categories and no set.
_LISTED_SETS = {"MVTecAD": "mvtecad", "VisA": "visa", "BTAD": "btech", "MPDD": "mpdd"}


def build_subject(
    method: str,
    checkpoint: Path | None,
    arguments: Mapping[str, Any],
    auxiliary_set: str | None = None,
    device: str = "auto",
) -> Subject:
    """Build a model for evaluation.

    Args:
        method: Name of the method.
        checkpoint: A checkpoint of it, or none for an untrained model.
        arguments: Further arguments of the method's class, such as ``backbone``.
        auxiliary_set: Name of the set it was trained on; none to find out.
        device: Where it shall run, see `resolve_device`.

    Raises:
        ValueError: There is no such method or device, or an argument does not fit.
        FileNotFoundError: There is no such checkpoint.
    """
    cls, place = find_method(method), resolve_device(device)
    given = dict(arguments) if checkpoint is None else {**arguments, "checkpoint": str(checkpoint)}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # an untrained model has random weights: let them be the same when a run goes on
            module = cls(**given)
    except TypeError as error:
        msg = f"{cls.__name__} cannot be built with {', '.join(given)}: {error}."
        raise ValueError(msg) from error
    auxiliary = AuxiliarySet(canonical_name(auxiliary_set)) if auxiliary_set else find_auxiliary(cls, checkpoint)
    return Subject(
        model=module.model.to(place),
        transform=module.pre_processor.transform,
        method=cls.__name__,
        checkpoint="" if checkpoint is None else checkpoint.name,
        auxiliary=auxiliary,
        module=module,
    )


def find_auxiliary(cls: type, checkpoint: Path | None) -> AuxiliarySet | None:
    """What a checkpoint was trained on: as stamped on it, or as known of published files; none if unknown."""
    if checkpoint is None:
        return None
    stamp = read_checkpoint(checkpoint, cls.__name__, sys.modules[cls.__module__].PUBLISHED_KEY).stamp  # type: ignore[attr-defined]
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
