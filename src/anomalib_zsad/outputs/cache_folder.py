"""The user's cache folder: where models made for an engine are kept, and where libraries of pages are looked for."""

import os
from pathlib import Path

VARIABLE = "ANOMALIB_ZSAD_CACHE"
"""Environment variable that names another cache folder."""


def cache_folder() -> Path:
    """`$ANOMALIB_ZSAD_CACHE`, else `anomalib-zsad` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    own = os.environ.get(VARIABLE)
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or ""
    # As the XDG specification has it, a relative path there is no path.
    home = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return home / "anomalib-zsad"
