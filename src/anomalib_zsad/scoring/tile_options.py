"""How large pictures are taken apart; nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TileOptions:
    """Overlapping square windows of a picture, each scored as an image of its own.

    Attributes:
        tiles: Side of a window in pixels of the picture; `None` for none: then the whole picture is squeezed into the
            model's square. A window of the model's own side is seen at native resolution, one of twice the side at
            half of it.
        tile_overlap: Share of a window that neighbours have in common, at least, from 0 to 0.75. It should not be
            smaller than what is looked for.
        tile_batch: Windows scored at a time; it changes no answer.

    Raises:
        ValueError: If a number makes no sense.
    """

    tiles: int | None = None
    tile_overlap: float = 0.25
    tile_batch: int = 8

    def __post_init__(self) -> None:
        if self.tiles is not None and self.tiles < 16:
            raise ValueError(f"tiles have a side of at least 16 pixels, not {self.tiles}")
        if not 0 <= self.tile_overlap <= 0.75:
            raise ValueError(f"tiles overlap by a share from 0 to 0.75, not {self.tile_overlap}")
        if self.tile_batch < 1:
            raise ValueError(f"at least one tile is scored at a time, not {self.tile_batch}")


WHOLE = TileOptions()
"""No tiles."""

VOLUMES_WHOLE = "--tiles is for images: slices of volumes are scored whole"
