"""Where models made for an engine are kept: each in a folder that is named by the hash of all that decides it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from anomalib_zsad.outputs.atomic import whole_folder
from anomalib_zsad.outputs.cache_folder import cache_folder


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
        OSError: If the cache cannot be written.
    """
    text = json.dumps(decisive, sort_keys=True, allow_nan=False)
    target = root / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{target.name}.lock"):
        if not target.is_dir():
            with whole_folder(target) as partial:
                make(partial)
                (partial / "decided_by.json").write_text(json.dumps(decisive, indent=1, sort_keys=True) + "\n")
    return target
