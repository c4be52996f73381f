"""Writes docs/licences.md: the licence of every package that comes with this one, as its own metadata state it.

python tools/licences.py          # writes the page
python tools/licences.py --check  # exit code 1 if a required package is copyleft
"""

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
STRONG = re.compile(r"\b(A?GPL|LGPL|GNU|EUPL|SSPL|OSL)\b|(A|L)?GPL-?v?\d", re.IGNORECASE)
_HEAD = """\
# Licences

The package is under Apache-2.0. Below is what its dependencies state of themselves, as installed on x86-64 Linux;
`python tools/licences.py` writes this page. A test refuses a required dependency under GPL, LGPL or AGPL.

- **tqdm**, which anomalib brings, is under MPL-2.0 and MIT. MPL-2.0 is a copyleft of single files: it asks whoever
  changes tqdm's own files to publish these, and nothing of who uses it.
- **opencv-python-headless** and **imagecodecs** state a permissive licence, and their wheels hold libraries under
  others; opencv's hold FFmpeg, under LGPL-2.1, as shared libraries. This package opens no video.
- NVIDIA's packages are proprietary, and come with torch where its wheels are built for CUDA.

"""


def closure(extras: tuple[str, ...] = ()) -> dict[str, metadata.Distribution]:
    """Installed packages that the package needs, at any depth, by name; those of its extras too."""
    project = _project()
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    waiting = [_wanted(line, frozenset()) for line in lines]
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]] | None] = {None}
    while waiting:
        entry = waiting.pop()
        if entry in seen or entry is None:
            continue
        seen.add(entry)
        name, of_it = entry
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        waiting += [_wanted(line, of_it) for line in found[name].requires or ()]
    return dict(sorted(found.items()))


def _wanted(line: str, extras: frozenset[str]) -> tuple[str, frozenset[str]] | None:
    """Name and extras of a requirement, where it holds on this machine for a package with these extras."""
    requirement = Requirement(line)
    marker = requirement.marker
    if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
        return None
    return canonicalize_name(requirement.name), frozenset(requirement.extras)


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def licence(distribution: metadata.Distribution) -> str:
    """What a package states: its expression, else its classifiers, else the first line of its licence field."""
    about = distribution.metadata
    classifiers = [
        text.rpartition("::")[2].strip() for text in about.get_all("Classifier") or () if "License ::" in text
    ]
    stated = (about.get("License") or "").strip().partition("\n")[0]
    return about.get("License-Expression") or "; ".join(classifiers) or stated or "see the package"


def table(packages: dict[str, metadata.Distribution]) -> str:
    """The packages as a Markdown table."""
    rows = [f"| {name} | {licence(distribution)} |" for name, distribution in packages.items()]
    return "\n".join(["| package | licence |", "| --- | --- |", *rows])


def copyleft(packages: dict[str, metadata.Distribution]) -> list[str]:
    """Packages under a copyleft that reaches who uses them, with their licences."""
    stated = {name: licence(distribution) for name, distribution in packages.items()}
    return [f"{name}: {text}" for name, text in stated.items() if STRONG.search(text)]


def extras() -> tuple[str, ...]:
    """The package's extras but those of its development."""
    return tuple(extra for extra in _project()["optional-dependencies"] if extra not in ("dev", "docs"))


def page() -> str:
    """The page."""
    required = closure()
    optional = {name: found for name, found in closure(extras()).items() if name not in required}
    parts = [f"{_HEAD}## Required\n\n{table(required)}", f"## Of the extras {', '.join(extras())}\n\n{table(optional)}"]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or check."""
    found = copyleft(closure())
    if "--check" in sys.argv:
        sys.stdout.write("".join(f"copyleft: {line}\n" for line in found))
        return int(bool(found))
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
