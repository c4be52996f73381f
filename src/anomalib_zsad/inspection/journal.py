"""What is done so far, on disk: a later run goes on from it, and pictures wait in it for the page."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.records.image_records import ImageRecord

NAME = ".inspection-journal"
_FINISHED = {"finished": True}


class Journal:
    """A file with an image in each line; once all outputs are written, without pictures, and the last line says so.

    Args:
        path: Of the file; taken up if there is one.

    Attributes:
        done: Record, place and whether there are pictures, of images that an earlier run had done, by name and state.
        finished: Whether the earlier run had written all its outputs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[tuple[str, str], tuple[ImageRecord, int, bool]] = {}
        self.finished = False
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
                self.done[record.image, entry["state"]] = (record, place, "pictures" in entry)
                self._states[record.image] = entry["state"]
            place += len(line)
        self._stream.seek(place)
        self._stream.truncate()

    def add(self, record: ImageRecord, state: str, pictures: Mapping[str, Any] | None = None) -> int:
        """Note an image.

        Args:
            record: What is said of it.
            state: Size and time of its file: a file that was changed since is looked at again.
            pictures: For the page.

        Returns:
            Where its entry lies.

        Raises:
            OSError: If it cannot be written.
        """
        entry = _entry(record, state)
        if pictures is not None:
            entry["pictures"] = pictures
        self._states[record.image] = state
        return self._write(entry)

    def pictures(self, place: int) -> dict[str, Any]:
        """The pictures of the entry at a place."""
        with self.path.open("rb") as stream:
            stream.seek(place)
            return json.loads(stream.readline())["pictures"]

    def find(self, image: str, state: str) -> tuple[ImageRecord, int, bool] | None:
        """Record, place, and whether there are pictures, of an image that an earlier run had done."""
        return self.done.get((image, state))

    def flush(self) -> None:
        """Make everything readable for `pictures`."""
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def finish(self, records: Iterable[ImageRecord]) -> None:
        """Close the file and note that all outputs are written: pictures are dropped, and images that are gone.

        Args:
            records: Of all images, as the outputs have them.

        Raises:
            OSError: If it cannot be written.
        """
        self.close()
        entries = [_entry(one, self._states[one.image]) for one in records if one.image in self._states]
        write_text(self.path, "".join(_line(entry) for entry in (*entries, _FINISHED)))

    def _write(self, entry: Mapping[str, Any]) -> int:
        place = self._stream.tell()
        self._stream.write(_line(entry).encode("ascii"))
        self._stream.flush()
        return place


def _entry(record: ImageRecord, state: str) -> dict[str, Any]:
    return {"state": state, "record": asdict(record)}


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def file_state(path: Path) -> str:
    """Size and time of a file."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
