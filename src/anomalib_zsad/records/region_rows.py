"""One row for each connected region of a lesion map, and the file they go to."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from anomalib_zsad.outputs.csv_tables import rounded_text, table_text
from anomalib_zsad.volumes.regions import Region


@dataclass(frozen=True)
class RegionRow:
    """A region, as regions.csv and the page of its series list it.

    Attributes:
        region: Its number, from 1, that of the highest peak first.
        voxels, volume_mm3: Its size; `None` where the geometry is not known.
        peak: Largest value of the map in it.
        peak_slice, first_slice, last_slice: Of the screened slices.
        peak_i, peak_j, peak_k: Voxel of the peak.
        peak_x_mm, peak_y_mm, peak_z_mm: World position of the peak (RAS); `None` where unknown.
    """

    region: int
    voxels: int
    volume_mm3: float | None
    peak: float
    peak_slice: int
    first_slice: int
    last_slice: int
    peak_i: int
    peak_j: int
    peak_k: int
    peak_x_mm: float | None
    peak_y_mm: float | None
    peak_z_mm: float | None

    @property
    def peak_voxel(self) -> tuple[int, int, int]:
        """Voxel of the peak."""
        return self.peak_i, self.peak_j, self.peak_k

    @property
    def peak_position(self) -> tuple[float, float, float] | None:
        """World position of the peak (RAS, mm)."""
        if self.peak_x_mm is None or self.peak_y_mm is None or self.peak_z_mm is None:
            return None
        return self.peak_x_mm, self.peak_y_mm, self.peak_z_mm


def region_rows(regions: Iterable[Region], axis: int) -> list[RegionRow]:
    """Rows of regions.

    Args:
        regions: In the order of their numbers.
        axis: Voxel axis that the screened slices follow.
    """
    return [
        RegionRow(
            number,
            region.voxels,
            region.volume_mm3,
            region.peak,
            region.peak_voxel[axis],
            *region.slices(axis),
            *region.peak_voxel,
            *(region.peak_position or (None, None, None)),
        )
        for number, region in enumerate(regions, 1)
    ]


def regions_csv(rows: Iterable[RegionRow]) -> str:
    """The rows as CSV text with a header; nothing for `None`."""
    return table_text([field.name for field in fields(RegionRow)], (astuple(row) for row in rows), rounded_text)
