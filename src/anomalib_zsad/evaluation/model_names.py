"""How a model of a comparison is written on a command line; light, so that mistakes are told before anything loads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anomalib_zsad.evaluation.target_names import parse_arguments


@dataclass(frozen=True)
class NamedModel:
    """A model to be compared.

    Attributes:
        label: What tables call it.
        method: Name or class path; `None` where its checkpoint says it.
        checkpoint: Its checkpoint; `None` for one that needs none.
        arguments: Further arguments of its class.
    """

    label: str
    method: str | None = None
    checkpoint: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def parse_models(specifications: Sequence[str]) -> list[NamedModel]:
    """Models of `NAME`, `CHECKPOINT` or `NAME=CHECKPOINT`, each perhaps with `?KEY=VALUE&...`.

    Raises:
        ValueError: If an argument is no `KEY=VALUE`, there are fewer than two models, or two are the same.
        FileNotFoundError: If a checkpoint is missing.
    """
    models = [_parse(specification) for specification in specifications]
    if len(models) < 2:
        raise ValueError("--models takes two models at least, the first of which the others are compared with")
    times = Counter(model.label for model in models)
    named = [model if times[model.label] == 1 else replace(model, label=_longer(model)) for model in models]
    twice = [label for label, count in Counter(model.label for model in named).items() if count > 1]
    if twice:
        raise ValueError(f"models cannot be told apart in the table: {', '.join(twice)}; rename their checkpoints")
    return named


def _parse(specification: str) -> NamedModel:
    head, _, query = specification.partition("?")
    name, equals, path = head.partition("=")
    arguments = parse_arguments(query)
    own = {"checkpoint": "NAME=CHECKPOINT", "class_name": "--class-name"}
    for key in own.keys() & arguments.keys():
        raise ValueError(f"{key} of a model is said by {own[key]}, not in {specification!r}")
    if equals or Path(head).is_file():
        checkpoint = Path(path if equals else head)
        if not checkpoint.is_file():
            raise FileNotFoundError(f"there is no checkpoint {checkpoint}")
        return NamedModel(name if equals else checkpoint.name, name if equals else None, checkpoint, arguments)
    return NamedModel(name.rpartition(".")[2], name, None, arguments)


def _longer(model: NamedModel) -> str:
    """A label that says the checkpoint, or the arguments, too."""
    if model.checkpoint is not None:
        return f"{model.label} {model.checkpoint.name}"
    return " ".join([model.label, *(f"{name}={value}" for name, value in model.arguments.items())])
