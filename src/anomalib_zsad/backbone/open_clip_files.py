"""Files that open_clip brings, found without importing it: its import takes longer than all else before an answer."""

import importlib.util
from pathlib import Path


def open_clip_file(name: str) -> Path | None:
    """A file in open_clip's folder; `None` if it has none of this name, or is not installed.

    Args:
        name: Its path in the folder.
    """
    spec = importlib.util.find_spec("open_clip")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
