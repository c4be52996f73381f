"""What is done so far, on disk: a later run goes on from it, and pictures wait in it for the page."""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from anomalib_zsad.records.image_records import ImageRecord

NAME = ".inspection-journal"
_FINISHED = {"finished": True}


class Known(NamedTuple):
    """An image that an earlier run had done: its record, the place of its entry, and what else that holds."""

    record: ImageRecord
    place: int
    has_pictures: bool
    has_thumbnail: bool


class Journal:
    """A file with an image in each line; once all outputs are written, without large pictures; the last line says so.

    Args:
        path: Of the file; taken up if there is one.

    Attributes:
        done: Images that an earlier run had done, by name and state.
        finished: Whether the earlier run had written all its outputs.
        places: Where the entry of each image is, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[tuple[str, str], Known] = {}
        self.finished = False
        self.places: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._stream = path.open("r+b" if path.is_file() else "x+b")
        self._take_up()

    def _take_up(self) -> None:
        """Read what an earlier run left. A line that was cut off is dropped."""
        place = 0
        for line in iter(self._stream.readline, b""):
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            self.finished = entry == _FINISHED
            if not self.finished:
                record = ImageRecord(**entry["record"])
                known = Known(record, place, "pictures" in entry, "thumbnail" in entry)
                self.done[record.image, entry["state"]] = known
                self._states[record.image] = entry["state"]
                self.places[record.image] = place
            place += len(line)
        self._stream.seek(place)
        self._stream.truncate()

    def add(
        self,
        record: ImageRecord,
        state: str,
        pictures: Mapping[str, Any] | None = None,
        thumbnail: Mapping[str, Any] | None = None,
    ) -> int:
        """Note an image.

        Args:
            record: What is said of it.
            state: Size and time of its file: a file that was changed since is looked at again.
            pictures: For the page, large ones.
            thumbnail: For the page.

        Returns:
            Where its entry lies.

        Raises:
            OSError: If it cannot be written.
        """
        entry = _entry(record, state)
        if pictures is not None:
            entry["pictures"] = pictures
        if thumbnail is not None:
            entry["thumbnail"] = thumbnail
        self._states[record.image] = state
        self.places[record.image] = self._write(entry)
        return self.places[record.image]

    def pictures(self, place: int) -> dict[str, Any]:
        """The large pictures of the entry at a place."""
        return self._entry_at(place)["pictures"]

    def thumbnail(self, place: int) -> dict[str, Any]:
        """The thumbnail of the entry at a place."""
        return self._entry_at(place)["thumbnail"]

    def _entry_at(self, place: int) -> dict[str, Any]:
        with self.path.open("rb") as stream:
            stream.seek(place)
            return json.loads(stream.readline())

    def find(self, image: str, state: str) -> Known | None:
        """An image that an earlier run had done, if it had."""
        return self.done.get((image, state))

    def changed(self, image: str) -> int | None:
        """When the file of an image was last modified, in nanoseconds; `None` if it could not be looked at."""
        state = self._states.get(image, "")
        return int(state.rpartition(" ")[2]) if state else None

    def flush(self) -> None:
        """Make everything readable for `pictures`."""
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def finish(self, records: Iterable[ImageRecord], pictured: Collection[str] = ()) -> None:
        """Close the file and note that all outputs are written: large pictures are dropped, and images that are gone.

        Args:
            records: Of all images, as the outputs have them.
            pictured: Names of images of which large pictures are kept all the same.

        Raises:
            OSError: If it cannot be written.
        """
        self.close()
        partial = self.path.with_name(f".partial-{self.path.name}")
        with partial.open("wb") as stream:
            for one in records:
                if one.image in self._states:
                    kept = self._entry_at(self.places[one.image])
                    names = ("thumbnail", *(["pictures"] if one.image in pictured else []))
                    pictures = {name: kept[name] for name in names if name in kept}
                    stream.write(_line({**_entry(one, self._states[one.image]), **pictures}).encode("ascii"))
            stream.write(_line(_FINISHED).encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.path)

    def _write(self, entry: Mapping[str, Any]) -> int:
        place = self._stream.tell()
        self._stream.write(_line(entry).encode("ascii"))
        self._stream.flush()
        return place


def is_finished(path: Path) -> bool:
    """Whether a journal says that all outputs were written."""
    if not path.is_file():
        return False
    end = _line(_FINISHED).encode("ascii")
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - len(end)))
        return stream.read() == end


def join(sources: Sequence[Path], target: Path) -> None:
    """Write a journal that is not finished, of those that are, whole.

    Args:
        sources: Journals, each with the line that says that it is finished.
        target: The new one, which may replace another.

    Raises:
        OSError: If it cannot be written.
    """
    partial = target.with_name(f".partial-{target.name}")
    end = _line(_FINISHED).encode("ascii")
    with partial.open("wb") as stream:
        for source in sources:
            with source.open("rb") as lines:
                stream.writelines(line for line in lines if line != end)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(target)


def _entry(record: ImageRecord, state: str) -> dict[str, Any]:
    return {"state": state, "record": asdict(record)}


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def file_state(path: Path) -> str:
    """Size and time of a file."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
