"""The pictures that the scales of int8 are chosen by."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.outputs.file_hash import file_sha256

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
        ValueError: If it holds fewer than 10.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of pictures for int8 at {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    if len(found) < FEWEST:
        raise ValueError(f"{folder} holds {len(found)} pictures; int8 needs at least {FEWEST} to choose its scales by")
    some = found if len(found) <= _MOST else [found[place * len(found) // _MOST] for place in range(_MOST)]
    digest = hashlib.sha256("".join(file_sha256(path) for path in some).encode())
    return Pictures(tuple(some), len(found), digest.hexdigest())
