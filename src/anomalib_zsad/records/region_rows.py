"""One row for each connected region of a lesion map, and the file they go to."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

from anomalib_zsad.outputs.csv_tables import rounded_text, table_text
from anomalib_zsad.volumes.place_words import BodyExtent
from anomalib_zsad.volumes.regions import Region

# A region that fills more of the body than this says little about where something is.
LARGE_SHARE = 0.2


@dataclass(frozen=True)
class RegionRow:
    """A region, as regions.csv and the page of its series list it.

    Attributes:
        region: Its number, from 1, that of the highest peak first; those outside the body last.
        voxels, volume_mm3: Its size; `None` where the geometry is not known.
        peak: Largest value of the map in it.
        peak_slice, first_slice, last_slice: Of the screened slices.
        peak_i, peak_j, peak_k: Voxel of the peak.
        peak_x_mm, peak_y_mm, peak_z_mm: World position of the peak (RAS); `None` where unknown.
        longest_diameter_mm: Between two corners of its voxels; `None` where unknown, and for those far down the list.
        outside_body: Whether most of it lies outside the patient's body; `None` where that is not known.
        share_of_body: How much of the imaged body it fills, in [0, 1]; `None` where that is not known.
        place: Where its peak lies in the body, in words; empty where unknown, and outside the body.
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
    longest_diameter_mm: float | None = None
    outside_body: bool | None = None
    share_of_body: float | None = None
    place: str = ""

    @property
    def large(self) -> bool:
        """Whether it fills more than `LARGE_SHARE` of the imaged body."""
        return self.share_of_body is not None and self.share_of_body > LARGE_SHARE

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


def region_rows(
    regions: Iterable[Region],
    axis: int,
    *,
    diameters: Sequence[float | None] = (),
    extent: BodyExtent | None = None,
) -> list[RegionRow]:
    """Rows of regions.

    Args:
        regions: In the order of their numbers.
        axis: Voxel axis that the screened slices follow.
        diameters: Longest diameters in mm of the first ones.
        extent: Of the body; `None` where unknown.
    """
    return [
        _row(number, region, axis, diameters[number - 1] if number <= len(diameters) else None, extent)
        for number, region in enumerate(regions, 1)
    ]


def _row(number: int, region: Region, axis: int, diameter: float | None, extent: BodyExtent | None) -> RegionRow:
    x, y, z = region.peak_position or (None, None, None)
    first, last = region.slices(axis)
    return RegionRow(
        region=number,
        voxels=region.voxels,
        volume_mm3=region.volume_mm3,
        peak=region.peak,
        peak_slice=region.peak_voxel[axis],
        first_slice=first,
        last_slice=last,
        peak_i=region.peak_voxel[0],
        peak_j=region.peak_voxel[1],
        peak_k=region.peak_voxel[2],
        peak_x_mm=x,
        peak_y_mm=y,
        peak_z_mm=z,
        longest_diameter_mm=diameter,
        outside_body=None if region.body_voxels is None else region.outside_body,
        share_of_body=None if extent is None else (region.body_voxels or 0) / extent.voxels,
        place=_place(region, extent),
    )


def _place(region: Region, extent: BodyExtent | None) -> str:
    if extent is None or region.peak_position is None or region.outside_body:
        return ""
    return extent.words(region.peak_position)


def regions_csv(rows: Iterable[RegionRow]) -> str:
    """The rows as CSV text with a header; nothing for `None`."""
    return table_text([field.name for field in fields(RegionRow)], (astuple(row) for row in rows), rounded_text)
