"""How a model is built for scoring: the one way for every command.

What only other models than trained ones of this package's methods need is imported where it is used: see the design,
"A command that scores imports no model of anomalib's".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from anomalib_zsad.models.components.tiled_model import TiledModel
from anomalib_zsad.outputs.file_hash import file_sha256
from anomalib_zsad.scoring.device import resolve_device
from anomalib_zsad.scoring.engine_options import PLAIN, EngineOptions
from anomalib_zsad.scoring.hosted_module import is_stand_in
from anomalib_zsad.scoring.model_scorer import ModelScorer, device_name
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions
from anomalib_zsad.scoring.tiled_module import tiled
from anomalib_zsad.scoring.trained_model import own_method, trained_model


@dataclass(frozen=True)
class BuiltModel:
    """A model, ready to score.

    Attributes:
        module: The Lightning module, or what stands for one (an adapter of one of anomalib's, a model on an engine), in
            evaluation mode on its device.
        device: Where it is.
        checkpoint: Its checkpoint; `None` for an untrained model, whose scores mean nothing.
        facts: What a report says of how it was built: hash of the checkpoint, further arguments.
    """

    module: Any
    device: torch.device
    checkpoint: Path | None
    facts: Mapping[str, Any]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.module.name if is_stand_in(self.module) else type(self.module).__name__


def build_model(
    checkpoint: Path | None,
    method: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str = "auto",
    engine: EngineOptions = PLAIN,
    tiles: TileOptions = WHOLE,
) -> BuiltModel:
    """Build a model.

    Args:
        checkpoint: Its checkpoint, which knows its method, backbone, image size and class name; `None` for an untrained
            model.
        method: Name or class path of the method, or of another of anomalib's models; a checkpoint of this package's
            methods says it, so it is needed only for those of others, and without a checkpoint.
        arguments: Further arguments of the method's class, such as `num_samples`.
        device: See `resolve_device`.
        engine: Which engine computes, and in which precision.
        tiles: How large pictures are taken apart. A model of tiles takes one picture at a time, of any size.

    Raises:
        ValueError: If there is no such method, device, or argument, an argument contradicts the checkpoint, neither
            checkpoint nor method is given, or the engine cannot run such a model there.
        MissingExtraError: If the engine is not installed.
        FileNotFoundError: If checkpoint or backbone weights are missing.
    """
    place = _place(device, engine)
    _check_given(checkpoint, method)
    return _built(_module(checkpoint, method, arguments), place, checkpoint, arguments, engine, tiles)


def _place(device: str, engine: EngineOptions) -> torch.device:
    if engine.engine == "torch":
        return resolve_device(device)
    from anomalib_zsad.scoring.engines.build_engine import check_engine

    return check_engine(engine, "cpu" if device == "auto" else resolve_device(device))


def _check_given(checkpoint: Path | None, method: str | None) -> None:
    if checkpoint is not None and not checkpoint.is_file():
        raise FileNotFoundError(f"there is no checkpoint {checkpoint}")
    if method is None and checkpoint is None:
        raise ValueError("neither a checkpoint nor a method is given; a checkpoint says which method it is of")


def _module(checkpoint: Path | None, method: str | None, arguments: Mapping[str, Any] | None) -> Any:
    """The Lightning module of a method, or the adapter of one of anomalib's models."""
    from anomalib_zsad.models.methods import find_method, method_of
    from anomalib_zsad.scoring.anomalib_classes import anomalib_class, build_adapter

    anomalib_cls = None if method is None else anomalib_class(method)
    if anomalib_cls is not None:
        return build_adapter(anomalib_cls, checkpoint, arguments)
    cls = find_method(method) if method is not None else method_of(checkpoint)  # type: ignore[arg-type]
    return _build_method(cls, checkpoint, arguments or {})


def _built(
    module: Any,
    place: torch.device,
    checkpoint: Path | None,
    arguments: Mapping[str, Any] | None,
    engine: EngineOptions,
    tiles: TileOptions,
) -> BuiltModel:
    module = module.eval()
    if not engine.is_plain:
        from anomalib_zsad.scoring.engines.build_engine import on_engine

        module = on_engine(module, engine, tiles)
    module = module.to(place)
    facts = {
        "checkpoint_sha256": None if checkpoint is None else file_sha256(checkpoint),
        "arguments": _without_folders(arguments or {}),
    }
    return BuiltModel(module if tiles.tiles is None else tiled(module, tiles), place, checkpoint, facts)


def build_for_scores(
    checkpoint: Path | None,
    method: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str = "auto",
    engine: EngineOptions = PLAIN,
    tiles: TileOptions = WHOLE,
) -> BuiltModel:
    """Build a model as `build_model` does, without its Lightning module where scores need none.

    That is for a checkpoint of one of this package's methods, without further arguments: a second or two instead of
    many. Answers and descriptions are the same.
    """
    if checkpoint is None or arguments:
        return build_model(checkpoint, method, arguments, device, engine, tiles)
    place = _place(device, engine)
    _check_given(checkpoint, method)
    name = own_method(checkpoint, method)
    if name is None:
        return build_model(checkpoint, method, arguments, device, engine, tiles)
    with torch.random.fork_rng(devices=[]):  # weights are drawn before the checkpoint's take their place
        module = trained_model(name, checkpoint)
    return _built(module, place, checkpoint, arguments, engine, tiles)


def _build_method(cls: type, checkpoint: Path | None, arguments: Mapping[str, Any]) -> Any:
    from anomalib_zsad.data.class_arguments import checked_arguments

    given = checked_arguments(cls, arguments, "--model.")
    if checkpoint is not None:
        given["checkpoint"] = str(checkpoint)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # an untrained model has random weights: a resumed run must have the same
            return cls(**given)
    except TypeError as error:
        raise ValueError(
            f"{cls.__name__} cannot be built with {', '.join(given) or 'no arguments'}: {error}"
        ) from error


def build_scorer(
    checkpoint: Path | None,
    method: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str = "auto",
    class_name: str | None = None,
    engine: EngineOptions = PLAIN,
    tiles: TileOptions = WHOLE,
    only_scores: bool = False,
) -> ModelScorer:
    """Build a model and make it a scorer of images and slices of one class.

    Args:
        checkpoint: See `build_model`.
        method: See `build_model`.
        arguments: See `build_model`.
        device: See `build_model`.
        class_name: What is to be scored, for the prompts; `None` for the model's own.
        engine: See `build_model`.
        tiles: See `build_model`; such a scorer is for images.
        only_scores: Whether the scorer's module is asked for scores alone, so that it may be less than a Lightning
            module; see `build_for_scores`.

    Raises:
        ValueError: As `build_model`, or if the model cannot score at all.
        MissingExtraError: As `build_model`.
        FileNotFoundError: As `build_model`.
    """
    build = build_for_scores if only_scores else build_model
    built = build(checkpoint, method, arguments, device, engine, tiles)
    scorer = scorer_of(built.module, str(built.device), class_name, built.facts)
    model = scorer.module.model
    model = model.tile_model if isinstance(model, TiledModel) else model
    is_checked = _check_class_name(model, scorer)
    if engine.engine != "torch":
        _settle_engine(model, scorer)
    if not is_checked:
        _try_out(scorer, partial(scorer.predict, torch.zeros(1, 3, 16, 16)))
    return scorer


def scorer_of(module: Any, device: str, class_name: str | None = None, facts: Any = None) -> ModelScorer:
    """The scorer that fits a module of this package, or what stands for one; see `ModelScorer`."""
    if not getattr(module, "own_scale", False):
        return ModelScorer(module, device, class_name, facts)
    from anomalib_zsad.scoring.anomalib_adapter import AdaptedScorer

    return AdaptedScorer(module, device, class_name, facts)


def _settle_engine(model: Any, scorer: ModelScorer) -> None:
    """Make the graph of the scorer's class name now, and keep what there is to tell of it."""
    from anomalib_zsad.scoring.engines.engine_model import EngineModel

    if isinstance(model, EngineModel):
        model.settle(scorer.class_name)
        scorer.facts |= model.notes


def _check_class_name(model: Any, scorer: ModelScorer) -> bool:
    """Ask the model about the class name, where nothing else can be wrong; whether that was done."""
    check: Any = getattr(model, "check_class_name", None)
    if check is None or scorer.device.type != "cpu":
        return False
    _try_out(scorer, partial(check, scorer.class_name))
    return True


def _try_out(scorer: ModelScorer, check: Callable[[], Any]) -> None:
    """Tell what would fail for every slice before the run, and not once for each series.

    Args:
        scorer: The scorer.
        check: Finds it out: asks about the class name, where that is all that can be wrong, or scores an empty image,
            which takes as long as any other.

    Raises:
        ValueError: If the model cannot score at all, such as with a class name that is too long.
    """
    try:
        check()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the model cannot score on {device_name(scorer.device)}: {error}") from error


def _without_folders(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the report: of a path the file's name alone, as folders may name people."""
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).exists() else value
        for name, value in arguments.items()
    }
