"""The pictures that the scales of int8 are chosen by."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from anomalib_zsad.data.files_below import FilesBelow, kind_of
from anomalib_zsad.data.pictures import read_picture
from anomalib_zsad.models.components.tiled_model import WorkingSize, tile_places
from anomalib_zsad.outputs.file_hash import file_sha256
from anomalib_zsad.scoring.tile_options import TileOptions

FEWEST = 10
_MOST = 300


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder.

    Attributes:
        paths: Those that are used.
        found: How many there are.
        sha256: Hash of the contents of those that are used.
    """

    paths: tuple[Path, ...]
    found: int
    sha256: str


def find_pictures(folder: Path) -> Pictures:
    """The pictures below a folder; of more than 300, so many at equal distances in the order of their names.

    Raises:
        FileNotFoundError: If there is no such folder.
        PermissionError: If a folder below cannot be read: scales would come of fewer pictures than is believed.
        ValueError: If it holds fewer than 10.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of pictures for int8 at {folder}")
    below = FilesBelow(folder)
    found = sorted(path for path in below if kind_of(path) is None)
    if below.unreadable:
        name, reason = next(iter(below.unreadable.items()))
        raise PermissionError(f"{folder / name}: {reason}; int8 takes its pictures from folders that can all be read")
    if len(found) < FEWEST:
        raise ValueError(f"{folder} holds {len(found)} pictures; int8 needs at least {FEWEST} to choose its scales by")
    some = found if len(found) <= _MOST else [found[place * len(found) // _MOST] for place in range(_MOST)]
    digest = hashlib.sha256("".join(file_sha256(path) for path in some).encode())
    return Pictures(tuple(some), len(found), digest.hexdigest())


def seen_by_model(
    pictures: Pictures, prepare: Callable[[torch.Tensor], torch.Tensor], side: int, tiles: TileOptions
) -> Iterator[torch.Tensor]:
    """What a model sees of pictures, as it sees them when it scores, one by one: whole, or windows of them.

    Of windows there are about 300 in all, equally many of each picture, at equal distances in their order.

    Args:
        pictures: The pictures.
        prepare: Brings an image (3, h, w) in [0, 1] to what the model takes.
        side: Side of the model's images.
        tiles: How pictures are taken apart.

    Raises:
        ValueError: If a picture cannot be read.
        OSError: If a picture cannot be read.
    """
    share = max(1, _MOST // len(pictures.paths))
    for path in pictures.paths:
        picture = torch.as_tensor(read_picture(path))
        if tiles.tiles is None:
            yield prepare(picture)
            continue
        working = WorkingSize(tiles.tiles, side)
        image = working(picture[None])[0]
        places = tile_places((image.shape[-2], image.shape[-1]), working.window, tiles.tile_overlap)
        some = places if len(places) <= share else [places[place * len(places) // share] for place in range(share)]
        for place in some:
            yield prepare(image[:, place.rows, place.columns])
