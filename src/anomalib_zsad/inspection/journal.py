"""What is done so far, on disk: an interrupted inspection goes on from it, and pictures wait in it for the page."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalib_zsad.records.image_records import ImageRecord

NAME = ".inspection-journal"


class Journal:
    """A file with an image in each line.

    Args:
        path: Of the file; taken up if there is one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, tuple[ImageRecord, int, bool]] = {}
        self._stream = path.open("r+b" if path.is_file() else "x+b")
        self._take_up()

    def _take_up(self) -> None:
        """Read what an earlier run left. A line that was cut off is dropped."""
        place = 0
        for line in iter(self._stream.readline, b""):
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            record = ImageRecord(**entry["record"])
            self.done[f"{record.image}\n{entry['state']}"] = (record, place, "pictures" in entry)
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
        entry: dict[str, Any] = {"state": state, "record": asdict(record)}
        if pictures is not None:
            entry["pictures"] = pictures
        return self._write(entry)

    def pictures(self, place: int) -> dict[str, Any]:
        """The pictures of the entry at a place."""
        with self.path.open("rb") as stream:
            stream.seek(place)
            return json.loads(stream.readline())["pictures"]

    def find(self, image: str, state: str) -> tuple[ImageRecord, int, bool] | None:
        """Record, place, and whether there are pictures, of an image that an earlier run had done."""
        return self.done.get(f"{image}\n{state}")

    def flush(self) -> None:
        """Make everything readable for `pictures`."""
        self._stream.flush()

    def close(self, *, remove: bool) -> None:
        """Close the file; remove it once everything is written."""
        self._stream.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _write(self, entry: Mapping[str, Any]) -> int:
        place = self._stream.tell()
        self._stream.write(json.dumps(entry, allow_nan=False).encode("ascii") + b"\n")
        self._stream.flush()
        return place


def file_state(path: Path) -> str:
    """Size and time of a file."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
