"""NiiVue, a viewer of volumes in 3D (BSD-2-Clause): where it is looked for on this machine, and its text.

It is no part of this package and is never fetched: npm puts it where `niivue_library` finds it, and pages made with it
hold a copy.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.outputs.cache_folder import cache_folder
from anomalib_zsad.outputs.terminal import visible

VERSION = "0.69.0"
"""The version that pages are tested with."""
VARIABLE = "ANOMALIB_ZSAD_NIIVUE"
"""Environment variable that names the folder of the library, in the place of the cache."""
_SCRIPT = Path("dist", "niivue.umd.js")
_MOST = 32 << 20


@dataclass(frozen=True)
class Library:
    """A script that a page can hold.

    Attributes:
        text: The script; it cannot end the element that it stands in.
        name: Name and version, to be shown.
    """

    text: str
    name: str


def niivue_folder() -> Path:
    """Where the library should lie: `$ANOMALIB_ZSAD_NIIVUE`, else where npm puts it in the user's cache folder."""
    own = os.environ.get(VARIABLE)
    return Path(own) if own else cache_folder() / "node_modules" / "@niivue" / "niivue"


def niivue_library() -> Library:
    """The library.

    Raises:
        FileNotFoundError: If it is not there; says how to get it.
        ValueError: If the file is none that could be it.
    """
    folder = niivue_folder()
    script = folder / _SCRIPT
    if not script.is_file():
        npm = f"npm install --prefix {visible(str(cache_folder()))} @niivue/niivue@{VERSION}"
        raise FileNotFoundError(
            f"--viewer niivue needs the library NiiVue, which is not at {visible(str(script))}; get it by {npm}, or "
            f"name its folder by {VARIABLE}"
        )
    if script.stat().st_size > _MOST:
        raise ValueError(f"{visible(str(script))} has {script.stat().st_size:,} bytes: NiiVue has less than {_MOST:,}")
    # In strings, the one place where it may stand, a backslash before the slash changes nothing.
    text = script.read_text(encoding="utf-8").replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return Library(text, f"NiiVue {_version(folder)}")


def _version(folder: Path) -> str:
    try:
        stated = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return "of unknown version"
    return str(stated)[:40]
