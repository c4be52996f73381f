"""The page of a volume in 3D: what of the voxels is kept for it, and when it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.pages import volume_page
from anomalib_zsad.pages.niivue_library import niivue_library
from anomalib_zsad.records.region_rows import RegionRow
from anomalib_zsad.records.series_report import SeriesReport
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.volumes.coarse_volume import CoarseVolume, coarse_volume
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.slice_stack import SliceStack


@dataclass(frozen=True)
class VolumeViewer:
    """What is kept of a volume whose voxels are released.

    Attributes:
        volume: On a coarse grid; `None` if no such page is made.
        note: Why there is no page, where one was asked for.
    """

    volume: CoarseVolume | None = None
    note: str = ""

    @classmethod
    def of(cls, stack: SliceStack, options: VolumeOptions) -> "VolumeViewer":
        """Keep what the page needs, while the voxels are still there."""
        if options.viewer != "niivue":
            return cls()
        found = coarse_volume(stack.volume, stack.window)
        return cls(note=f"No view in three dimensions: {found}.") if isinstance(found, str) else cls(found)

    @property
    def files(self) -> list[str]:
        """Name of the page that is going to be written."""
        return [] if self.volume is None else [volume_page.NAME]

    def write(self, folder: Path, maps: MapFile, report: SeriesReport, regions: Sequence[RegionRow]) -> None:
        """Write the page, if there is one.

        Raises:
            FileNotFoundError: If NiiVue is not on this machine; says how to get it.
        """
        if self.volume is None:
            return
        start = next((region.peak_position for region in regions if not region.outside_body), None)
        page = volume_page.VolumePage(self.volume, maps, report, niivue_library(), start)
        page.write(folder / volume_page.NAME)
