"""A model, brought to an engine and a precision."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.engines import int8
from anomalib_zsad.scoring.engines.cache import default_cache
from anomalib_zsad.scoring.engines.engine_model import EngineModel
from anomalib_zsad.scoring.engines.graphs import check_installed, graph_of
from anomalib_zsad.scoring.engines.identity import versions_of
from anomalib_zsad.scoring.engines.pictures import Pictures, find_pictures
from anomalib_zsad.scoring.engines.runtimes import Runtime, check_precision, load
from anomalib_zsad.scoring.hosted_module import HostedModule
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions
from anomalib_zsad.scoring.trained_model import TrainedModel


def check_engine(options: EngineOptions, device: torch.device | str) -> torch.device:
    """Make sure that an engine is there, and runs on a device, before a model is built.

    Returns:
        The device.

    Raises:
        MissingExtraError: If a package is missing.
        ValueError: If it does not run there, or the processor lacks the precision.
    """
    device = torch.device(device)
    if options.engine == "torch":
        return device
    check_installed(options.engine)
    if options.precision == "int8":
        int8.check_installed()
    if options.precision == "bfloat16" and device.type == "cpu":  # what every processor has needs no trial
        check_precision(options.precision)
    if device.type != "cpu":
        raise ValueError(f"the engine {options.engine} runs on the CPU here, and not on {device}; give --device cpu")
    return device


def on_engine(module: Any, options: EngineOptions, tiles: TileOptions = WHOLE) -> HostedModule:
    """A model on an engine, or in another precision, or both.

    Args:
        module: A Lightning module of this package or a `TrainedModel`, on the CPU, in evaluation mode, in float32.
        options: Which.
        tiles: How pictures will be taken apart, for int8: its scales are chosen by what it scores.

    Raises:
        ValueError: If it is another model than one of this package's methods.
    """
    if not isinstance(module, TrainedModel) and not _exports(module):
        name = getattr(module, "name", type(module).__name__)
        raise ValueError(f"{name} runs by torch in float32 here; engines and precisions are for this package's methods")
    own = describe_model(module)
    pictures = None if options.int8_images is None else find_pictures(options.int8_images)
    description = described(own, options, pictures, tiles)
    if options.engine == "torch":
        return HostedModule(module, module.model.bfloat16(), description)
    return HostedModule(module, _engine_model(module, own, options, pictures, tiles, description), description)


def _exports(module: Any) -> bool:
    """Whether something is a Lightning module that can be exported."""
    from anomalib_zsad.models.components.exports import Exports

    return isinstance(module, Exports)


def described(
    own: Mapping[str, Any], options: EngineOptions, pictures: Pictures | None = None, tiles: TileOptions = WHOLE
) -> dict[str, Any]:
    """A model's description of itself, with engine and precision.

    At float32 the engine is no part of what a calibration is tied to: answers are equal within 1e-4. In another
    precision each engine rounds in its own way.
    """
    version = versions_of(options.engine)[options.engine]
    found = {**own, "engine": f"{options.engine} {version}"}
    if options.precision != "float32":
        found["precision"] = f"{options.precision} by {options.engine}"
    if pictures is not None:
        by = versions_of("nncf")["nncf"]
        found["precision"] += f", nncf {by}, pictures {pictures.sha256[:12]}"
        if tiles.tiles is not None:
            found["precision"] += f" by windows of {tiles.tiles} px, overlapping by {tiles.tile_overlap:g}"
    return found


def _engine_model(
    module: Any,
    own: Mapping[str, Any],
    options: EngineOptions,
    pictures: Pictures | None,
    tiles: TileOptions,
    description: Mapping[str, Any],
) -> EngineModel:
    cache = options.engine_cache or default_cache()
    notes: dict[str, Any] = {}
    prepare, side = module.pre_processor.transform, int(own["image_size"])

    def make(class_name: str) -> Path:
        path: Path = graph_of(module, own, class_name, options.engine, cache)
        if pictures is not None:
            path = int8.int8_graph(path, pictures, prepare, cache, side, tiles)
            notes["int8"] = int8.read_report(path)
        return path

    def opened(path: Path) -> Runtime:
        return load(path, options.engine, options.precision)

    identity = json.dumps(description, sort_keys=True, default=str)
    speaks = getattr(module.model, "speaks_class_names", True)
    name, patches = module.class_name or "object", module.model.backbone.grid**2
    check = getattr(module.model, "check_class_name", None)
    return EngineModel(make, opened, name, patches, identity, speaks=speaks, notes=notes, check=check)
