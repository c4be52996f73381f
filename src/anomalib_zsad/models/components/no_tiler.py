"""anomalib's tiling callback, and what to use instead."""

from typing import Any


class NoTiler:
    """Refuses anomalib's `Tiler`, which cuts images after they were squeezed to the model's size.

    anomalib's `TilerConfigurationCallback` looks for an attribute `tiler` and sets it.
    """

    @property
    def tiler(self) -> None:
        """None."""
        return

    @tiler.setter
    def tiler(self, value: Any) -> None:
        if value is not None:
            raise ValueError(
                "anomalib's tiling cuts images that were already squeezed to the model's size, where small defects are "
                "gone. Use tiles of the picture itself: `anomalib-zsad inspect --tiles 518`, or in Python "
                "`model.examine(path, tile_size=518)` or `build_scorer(..., tiles=TileOptions(518))`"
            )
