"""Overlays of a station: a picture under its map for each answer, in a folder for each day (UTC)."""

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

from anomalib_zsad.inspection.image_answers import shown_map
from anomalib_zsad.inspection.read_images import ReadImage
from anomalib_zsad.pages.painted_picture import SIDE, painted_picture
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.station.options import WatchOptions
from anomalib_zsad.station.results import day_of

FOLDER = "overlays"


class Overlays:
    """Paints and keeps them.

    Args:
        output: The station's output folder.
        options: Which are asked for, and how long they stay.
    """

    def __init__(self, output: Path, options: WatchOptions) -> None:
        self._output, self._options = output, options
        (output / FOLDER).mkdir(exist_ok=True)

    @property
    def side(self) -> int | None:
        """Longest side of the pictures that they need; `None` if there are none."""
        return None if self._options.overlays == "none" else SIDE

    def paint(self, item: ReadImage, record: ImageRecord, answer: SliceScores, place: int) -> bytes | None:
        """The overlay of a picture as JPEG, where one was asked for.

        Args:
            item: The picture.
            record: What is said of it.
            answer: Of its batch.
            place: Which of the answers is its.
        """
        if item.picture is None or not answer.has_map:
            return None
        if self._options.overlays == "flagged" and record.decision == "normal":
            return None
        rule = self._options.rule
        heat = shown_map(answer.anomaly_map[place])
        return painted_picture(item.picture, heat, rule.mask_threshold, rule.shown_range)

    def write(self, content: bytes | None, number: int, now: float) -> str | None:
        """Write an overlay whole; returns its place below the output folder.

        Args:
            content: The overlay; `None` for none.
            number: Of the answer.
            now: When it was given.

        Raises:
            OSError: If it cannot be written.
        """
        if content is None:
            return None
        place = Path(FOLDER) / day_of(now) / f"{number:08d}.jpg"
        (self._output / place).parent.mkdir(exist_ok=True)
        # At the top, where the next start looks for what a kill left.
        partial = self._output / f".partial-{place.name}"
        partial.write_bytes(content)
        partial.replace(self._output / place)
        return place.as_posix()

    def remove_old(self) -> None:
        """Remove days that are to be kept no longer."""
        if not self._options.keep_days:
            return
        oldest = (datetime.now(timezone.utc).date() - timedelta(days=self._options.keep_days)).isoformat()
        for day in (self._output / FOLDER).iterdir():
            if day.name < oldest and day.is_dir():
                shutil.rmtree(day, ignore_errors=True)
