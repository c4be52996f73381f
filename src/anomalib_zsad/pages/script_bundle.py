"""From ES modules to the one script of a page: what an entry imports, each module once, before those that use it.

Pages are one file and may load nothing, so modules are joined. They keep to a small part of the language, which is
checked here: imports by name from modules of the same folder, exports of declarations, no circles, and no name that two
modules of a page both declare.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("scripts")
_IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_OTHER_IMPORT = re.compile(r"^(import\b.*|export (?:default|\{|\*).*)$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)
_DECLARED = re.compile(
    r"^(export )?(?:async )?(?:function\*?|class|const|let) (\w+|\[[^\]]*\]|\{[^}]*\})", re.MULTILINE
)


@dataclass(frozen=True)
class _Module:
    """A module: its code without imports and exports, what it takes from which file, and what it declares."""

    path: Path
    code: str
    imports: tuple[tuple[Path, tuple[str, ...]], ...]
    exported: frozenset[str]
    declared: frozenset[str]


@cache
def bundle(entries: tuple[str, ...], folder: Path = FOLDER) -> str:
    """The script of a page.

    Args:
        entries: Names of modules in `folder`; they run in this order, after what they import.
        folder: Where the modules lie.

    Raises:
        ValueError: If a module uses what is not supported, imports what is not exported or in a circle, or declares
            what another one declares.
    """
    ordered: dict[Path, _Module] = {}
    for entry in entries:
        _collect((folder / entry).resolve(), ordered, ())
    owners: dict[str, Path] = {}
    for module in ordered.values():
        for name in sorted(module.declared):
            if name in owners:
                raise ValueError(f"{name} is declared by {owners[name].name} and by {module.path.name}; rename one")
            owners[name] = module.path
    code = "\n".join(module.code.strip() for module in ordered.values())
    return f'"use strict";\n{code}\n' if code else ""


def _collect(path: Path, ordered: dict[Path, _Module], above: tuple[Path, ...]) -> None:
    """Add a module after those that it imports."""
    if path in above:
        circle = " -> ".join(step.name for step in (*above[above.index(path) :], path))
        raise ValueError(f"modules import each other in a circle: {circle}")
    if path in ordered:
        return
    module = _read(path)
    for source, names in module.imports:
        _collect(source, ordered, (*above, path))
        missing = [name for name in names if name not in ordered[source].exported]
        if missing:
            raise ValueError(f"{path.name} imports {', '.join(missing)}, which {source.name} does not export")
    ordered[path] = module


def _read(path: Path) -> _Module:
    text = path.read_text(encoding="utf-8")
    imports = tuple(
        ((path.parent / source).resolve(), tuple(name.strip() for name in names.split(",") if name.strip()))
        for names, source in _IMPORT.findall(text)
    )
    text = _IMPORT.sub("", text)
    if other := _OTHER_IMPORT.search(text):
        raise ValueError(f"{path.name}: not supported in a page's module: {other[0]}")
    declared = [(bool(export), name) for export, name in _DECLARED.findall(text)]
    names = [(export, part) for export, found in declared for part in re.findall(r"\w+", found)]
    return _Module(
        path,
        _EXPORT.sub("", text),
        imports,
        frozenset(name for export, name in names if export),
        frozenset(name for _, name in names),
    )
