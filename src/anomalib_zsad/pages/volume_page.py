"""The page of a volume in 3D, by NiiVue: `viewer.html`."""

import base64
from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.pages.document import render
from anomalib_zsad.pages.niivue_library import Library
from anomalib_zsad.records.series_report import SeriesReport
from anomalib_zsad.scoring.demonstration import demonstration_notice
from anomalib_zsad.volumes.coarse_volume import CoarseVolume
from anomalib_zsad.volumes.map_file import MapFile

NAME = "viewer.html"


@dataclass(frozen=True)
class VolumePage:
    """What the page shows.

    Attributes:
        volume: Grey levels on a coarse grid.
        maps: The map on the volume's own grid.
        report: What report.json says.
        library: NiiVue.
        start: World position (RAS, mm) to begin at, that of the first region; `None` for the middle.
    """

    volume: CoarseVolume
    maps: MapFile
    report: SeriesReport
    library: Library
    start: tuple[float, float, float] | None = None

    def write(self, path: Path) -> None:
        """Write the page."""
        page = render(
            "volume.html.j2",
            ("volume.js",),
            library=self.library.text,
            library_name=self.library.name,
            report=self.report,
            notice=demonstration_notice(self.report.model),
            steps=self.volume.steps,
            image=base64.b64encode(self.volume.image()).decode("ascii"),
            map=base64.b64encode(self.volume.map(self.maps)).decode("ascii"),
            data={"threshold": self.report.thresholds.mask, "start": None if self.start is None else list(self.start)},
        )
        with path.open("x", encoding="utf-8") as stream:
            stream.write(page)
