"""Outputs that appear whole or not at all: written beside their place, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial-"
# A folder of this name pattern is removed only if this file stands beside it (before: in it): nobody else's folder is
# ever touched. It is there before the folder, and goes after it, so that a kill at no point leaves a folder without it.
_BESIDE = ".anomalib-zsad"
_INSIDE = ".anomalib-zsad-partial"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8; bytes of file names that are no text are spelled out)."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends without an exception, and vanishes otherwise.

    Args:
        target: A path where nothing is yet.

    Raises:
        FileExistsError: If there is something at `target`.
    """
    if target.exists():
        raise FileExistsError(f"{target.name} exists already and is not overwritten")
    partial = target.with_name(_PARTIAL + target.name)
    _remove(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _beside(partial).touch()
    partial.mkdir()
    try:
        yield partial
        partial.replace(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        if not partial.exists():
            _beside(partial).unlink(missing_ok=True)


def is_partial_file(path: Path) -> bool:
    """Whether a file is what `write_text` left when it was killed."""
    return path.name.startswith(_PARTIAL) and path.is_file()


def remove_partial(folder: Path, *, deep: bool = True) -> int:
    """Remove what an interrupted run left half-written in a folder; returns how many items.

    Args:
        folder: The folder.
        deep: Look at any depth, which takes its time where there are many files.
    """
    found = folder.rglob(_PARTIAL + "*") if deep else folder.glob(_PARTIAL + "*")
    leftovers = [path for path in found if path.exists() and _is_ours(path)]
    for path in sorted(leftovers, key=Path.is_file):  # a folder before the file that tells whose it is
        if path.is_file():
            path.unlink(missing_ok=True)
        elif path.exists():
            shutil.rmtree(path)
    return len(leftovers)


def _beside(partial: Path) -> Path:
    return partial.with_name(partial.name + _BESIDE)


def _is_ours(path: Path) -> bool:
    return path.is_file() or _beside(path).is_file() or (path / _INSIDE).is_file() or not any(path.iterdir())


def _remove(partial: Path) -> None:
    if partial.is_dir():
        if not _is_ours(partial):
            raise FileExistsError(f"{partial.name} is in the way and was not made by this program")
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)
