"""The page of one screened series: `report.html`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.pages.colours import DEVIATION, MAP, colour_table
from anomalib_zsad.pages.document import data_address, render
from anomalib_zsad.pages.encoding import LADDER, MAP_SIDE, MAP_TOLERANCE, reduced_size
from anomalib_zsad.pages.slice_pictures import Scale, SlicePictures
from anomalib_zsad.records.region_rows import RegionRow
from anomalib_zsad.records.series_report import SeriesReport
from anomalib_zsad.records.slice_rows import SliceRow
from anomalib_zsad.scoring.demonstration import demonstration_notice
from anomalib_zsad.volumes.body import Body
from anomalib_zsad.volumes.options import CT_PRESETS
from anomalib_zsad.volumes.regions import Regions, voxel_volumes
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import Units

NAME = "report.html"
SCRIPTS = ("series.js", "link.js")
_PLACE = "<!--slices-->"
_LISTED = 100
_STEPS = ("row", "column", "slice")


@dataclass(frozen=True)
class KeySlice:
    """A slice among those with the highest scores: which one, its score, and its picture under its map as JPEG."""

    slice: int
    score: float
    picture: bytes

    @property
    def address(self) -> str:
        """The picture as a `data:` address."""
        return data_address(self.picture, "jpeg")


@dataclass(frozen=True)
class SeriesPage:
    """What the page shows.

    Attributes:
        stack: The screened slices. Their voxels are not touched.
        rows: One for each slice, in order.
        regions: Connected regions of the map.
        region_rows: Their rows.
        report: What report.json says.
        pictures: All slices, finished.
        body: Where the body is; `None` where unknown.
        key_slices: What is printed of the slices, the highest score first.
        viewer_note: Why there is no page in 3D, where one was asked for.
    """

    stack: SliceStack
    rows: Sequence[SliceRow]
    regions: Regions
    region_rows: Sequence[RegionRow]
    report: SeriesReport
    pictures: SlicePictures
    body: Body | None = None
    key_slices: Sequence[KeySlice] = ()
    viewer_note: str = ""

    def write(self, path: Path) -> None:
        """Write the page; pictures are copied piece by piece, so it is never in memory as a whole."""
        page = render(
            "series.html.j2",
            SCRIPTS,
            report=self.report,
            notice=demonstration_notice(self.report.model),
            rows=self.rows,
            listed=self._listed(),
            regions=self.regions,
            data=self._data(),
            notes=self._notes(),
            key_slices=self.key_slices,
            place=_PLACE,
            presets=CT_PRESETS if self._is_ct else {},
        )
        head, _, tail = page.partition(_PLACE)
        with path.open("xb") as stream:
            stream.write(head.encode())
            for block in self.pictures.blocks():
                stream.write(block)
            stream.write(tail.encode())

    @property
    def _is_ct(self) -> bool:
        return self.report.units == Units.HOUNSFIELD.value

    def _listed(self) -> Sequence[RegionRow]:
        """The regions that the page lists."""
        return self.region_rows[:_LISTED]

    def _data(self) -> dict[str, Any]:
        """What the page's script works with."""
        spacing = self.stack.pixel_spacing
        window, thresholds = self.report.window, self.report.thresholds
        return {
            "series": self.report.identity.series or "",
            "size": list(self.stack.shape),
            "spacing": None if spacing is None else list(spacing),
            "frame": self._frame(),
            "stacked": self.stack.volume.has_spatial_stack,
            "pixel_volumes": self._pixel_volumes(),
            "values": [round(float(value), 4) for value in self.pictures.codes.values],
            "units": "HU" if self._is_ct else "",
            "window": {"width": window.width, "level": window.level, "name": window.name},
            "decided": self.report.decided_by,
            "thresholds": {"slice": thresholds.slice, "mask": thresholds.mask},
            "uncertainty": self.report.uncertainty,
            "scales": {
                "map": _scale(self.pictures.maps, MAP, thresholds.mask),
                "deviation": _scale(self.pictures.deviations, DEVIATION, None),
            },
            "rows": [self._row(row) for row in self.rows],
            "regions": [self._place(region) for region in self._listed()],
            "totals": {
                "slices": sum(row.area_pixels > 0 for row in self.rows),
                "regions": self.regions.count,
                "volume": self.regions.volume_mm3,
            },
            "start": self._start(),
        }

    def _frame(self) -> dict[str, Any] | None:
        """Where pixels lie: steps in the world (RAS, mm), and which pixel is the middle that rows tell the place of."""
        steps = self.stack.steps()
        if steps is None:
            return None
        box, (rows, columns) = self.stack.box, self.stack.full_shape
        vectors = {name: [round(float(value), 6) for value in getattr(steps, name)] for name in _STEPS}
        return {**vectors, "middle": [(rows - 1) / 2 - box.rows.start, (columns - 1) / 2 - box.columns.start]}

    def _pixel_volumes(self) -> list[float] | None:
        """What a pixel of each slice stands for in mm3: one number where it is the same for all; `None` if unknown."""
        sizes = voxel_volumes(self.stack.volume)
        if sizes is None:
            return None
        if self.stack.axis != self.stack.volume.native_axis or np.ptp(sizes) == 0:
            return [round(float(sizes[0]), 6)]
        return [round(float(sizes[row.slice]), 6) for row in self.rows]

    def _start(self) -> dict[str, Any]:
        """What the page begins with: the first region, else the highest score where there is enough of the body."""
        listed = self._listed()
        if listed and not listed[0].outside_body:
            return {**self._place(listed[0]), "region": listed[0].region}
        row = first_to_show(self.rows, None if self.body is None else self.body.areas(self.stack.axis))
        return {"slice": row.slice if row else 0, "pixel": None, "region": None}

    def _row(self, row: SliceRow) -> dict[str, Any]:
        return {
            "slice": row.slice,
            "score": round(row.score, 6),
            "std": None if row.score_std is None else round(row.score_std, 6),
            "p": row.p_value,
            "decision": _kind(row),
            "flagged": bool(row.flagged),
            "rank": row.rank,
            "position": _rounded(row.x_mm, row.y_mm, row.z_mm),
            "instance": row.sop_instance_uid,
            "frame": row.frame,
            "area": row.area_mm2,
            "peak": round(row.map_max, 6),
        }

    def _place(self, region: RegionRow) -> dict[str, Any]:
        place = self.stack.pixel(region.peak_voxel)
        return {
            "number": region.region,
            "slice": region.peak_slice,
            "pixel": None if place is None else list(place),
            "peak": region.peak,
        }

    def _notes(self) -> list[str]:
        """What was reduced to keep the page small; said on the page."""
        quality, account = LADDER[self.pictures.rung], self.pictures.account
        values = self.pictures.codes.values
        pictures = (
            f"All {account.done} slices are in this page, as 8-bit pictures ({quality.words(self.stack.shape)}): good "
            "for orientation, not for reading. Half of the grey levels lie in the model's window, the others reach to "
            f"{values[0]:.6g} and {values[-1]:.6g}."
        )
        notes = [pictures, *filter(None, [self.viewer_note])]
        if account.reduced:
            notes.append(f"To bound this page's size, {account.reduced} slices are stored still more coarsely.")
        if account.small_maps:
            rows, columns = reduced_size(self.stack.shape, MAP_SIDE)
            notes.append(
                f"{account.small_maps} maps are stored with {columns} x {rows} pixels, which changes them by at most "
                f"{MAP_TOLERANCE}. Outlines of regions and all figures come from the full maps."
            )
        if account.rough_maps:
            how = "as JPEG, in full resolution where the size of this page allows it"
            notes.append(f"{account.rough_maps} maps are too rough for that and are stored {how}.")
        return notes


def first_to_show(rows: Sequence[SliceRow], areas: NDArray[np.int64] | None) -> SliceRow | None:
    """The slice with the highest score among those with at least a third of the largest slice's body.

    Args:
        rows: One for each slice.
        areas: Voxels of body in each slice of the volume; `None` where that is unknown: then all slices count.
    """
    scored = [row for row in rows if not row.blank] or list(rows)
    if areas is not None:
        enough = [row for row in scored if areas[row.slice] * 3 >= areas.max()]
        scored = enough or scored
    return max(scored, key=lambda row: row.score, default=None)


def _rounded(*position: float | None) -> list[float] | None:
    """A position to a thousandth of a millimetre."""
    known = [round(value, 3) for value in position if value is not None]
    return known if len(known) == len(position) else None


def _kind(row: SliceRow) -> str:
    """What the strip draws: the decision, or that there is none."""
    return "blank" if row.blank else row.decision or "undecided"


def _scale(scale: Scale, name: str, threshold: float | None) -> dict[str, Any] | None:
    """Range and colours of an overlay; `None` where there is none.

    Maps are clear at the series' median and in full colour at its highest value, or at the threshold where no pixel
    reaches it: what is far from the threshold stays faint.
    """
    if not scale.middles:
        return None
    low = 0.0 if threshold is None else scale.middle
    high = scale.highest if threshold is None else max(scale.highest, threshold)
    if high <= low:
        high = low + 0.01
    ends = [min(scale.lowest, low), max(scale.highest, high)]
    return {"low": low, "high": high, "range": ends, "colours": colour_table(name)}
