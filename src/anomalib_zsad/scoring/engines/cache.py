"""Where models made for an engine are kept: each in a folder that is named by the hash of all that decides it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from anomalib_zsad.outputs.atomic import whole_folder
from anomalib_zsad.outputs.cache_folder import cache_folder
from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, CacheError


def default_cache() -> Path:
    """`engines` in the user's cache folder."""
    return cache_folder() / "engines"


def kept(root: Path, kind: str, decisive: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder of what was made of the same before, or is made now.

    Several processes may ask for the same at once: one makes it, and the others wait. A folder is there whole or not at
    all, whenever a process dies.

    Args:
        root: The cache.
        kind: First part of the folder's name.
        decisive: All that decides what is made, in JSON's types.
        make: Fills the folder that it is given.

    Raises:
        CacheError: If the cache cannot be written, because its disk is full or the like.
        OSError: If a file cannot be read or written for another reason.
    """
    text = json.dumps(decisive, sort_keys=True, allow_nan=False)
    target = root / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{target.name}.lock"):
            if not target.is_dir():
                with whole_folder(target) as partial:
                    make(partial)
                    (partial / "decided_by.json").write_text(json.dumps(decisive, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        if error.errno not in NOTHING_CAN_BE_WRITTEN:
            raise
        raise CacheError(f"{error.strerror} ({root}; --engine-cache names another folder)") from error
    return target
