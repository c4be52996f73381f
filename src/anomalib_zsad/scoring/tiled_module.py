"""A model that scores pictures by their tiles, in the place of one that scores them whole."""

import json
from typing import Any

from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.models.components.tiled_model import TiledModel, WorkingSize
from anomalib_zsad.scoring.hosted_module import HostedModule
from anomalib_zsad.scoring.tile_options import TileOptions


def tiled(module: Any, options: TileOptions) -> HostedModule:
    """A model that scores pictures by their tiles.

    Args:
        module: A Lightning module of this package, or what stands for one.
        options: How; with `tiles` given.
    """
    described = describe_model(module)
    tile, side = int(options.tiles or 0), int(described["image_size"])
    working = WorkingSize(tile, side)
    description = {**described, "tiles": f"{tile} px, overlapping by {options.tile_overlap:g}"}
    transform = module.pre_processor.transform
    identity = json.dumps(description, sort_keys=True, default=str)
    model = TiledModel(module.model, transform, working.window, options.tile_overlap, options.tile_batch, identity)
    return HostedModule(module, model, description, working)
