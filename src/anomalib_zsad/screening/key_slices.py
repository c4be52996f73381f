"""A PDF of a screened series: what was found, and its key slices."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from numpy.typing import NDArray

from anomalib_zsad.records.series_report import SeriesReport
from anomalib_zsad.scoring.demonstration import demonstration_notice
from anomalib_zsad.volumes.writing.dicom_report import ReportedRegion

TITLE = "Anomaly screening: key slices"
_PAGE = (8.27, 11.69)  # A4 in inches
_PER_PAGE = 6
_LISTED = 20


def key_slices_pdf(
    report: SeriesReport, regions: Sequence[ReportedRegion], pictures: Sequence[NDArray[np.uint8]]
) -> bytes:
    """The document, the same bytes for the same arguments.

    Args:
        report: Of the series.
        regions: Highest peak first.
        pictures: Key slices, RGB (h, w, 3), highest score first, with their words.
    """
    buffer = io.BytesIO()
    facts = {"Title": TITLE, "Creator": "anomalib-zsad", "Producer": "anomalib-zsad", "CreationDate": None}
    with PdfPages(buffer, metadata=facts) as pages:
        pages.savefig(_front(report, regions))
        for start in range(0, len(pictures), _PER_PAGE):
            pages.savefig(_contact_sheet(pictures[start : start + _PER_PAGE], report))
    return buffer.getvalue()


def _front(report: SeriesReport, regions: Sequence[ReportedRegion]) -> Figure:
    result, page = report.result, Figure(_PAGE)
    decision = {"abnormal": "above the threshold", "normal": "below the threshold"}.get(
        result.volume_decision or "", result.volume_decision or "none: not calibrated"
    )
    arbitrary = " (arbitrary)" if report.decided_by == "nothing" else ""
    deviation = "" if result.volume_score_std is None else f" ± {result.volume_score_std:.3f}"
    lines = [
        f"Series: {report.identity.series or '-'}    modality: {report.modality or '-'}    slices: {result.slices}",
        f"Model: {report.model.get('model', '-')}    class name: {report.model.get('class_name', '-')}",
        f"Score of the series: {result.volume_score:.3f}{deviation} ({result.volume_score_is})",
        *([] if result.volume_p_value is None else [f"p-value among normal cases: {result.volume_p_value:.4f}"]),
        f"Decision: {decision}",
        f"Regions above {report.thresholds.mask:.3f}{arbitrary}: {result.regions.count}",
    ]
    page.text(0.08, 0.95, TITLE, size=16, weight="bold", va="top")
    page.text(0.08, 0.91, "\n".join(textwrap.wrap(report.statement, 90)), size=9, va="top", color="#a00000")
    page.text(
        0.08, 0.87, "\n".join(textwrap.wrap(demonstration_notice(report.model), 90)), size=9, va="top", weight="bold"
    )
    page.text(0.08, 0.82, "\n".join(lines), size=9, va="top", linespacing=1.6)
    page.text(0.08, 0.66, _table(regions, result.regions.count), size=8, va="top", family="monospace", linespacing=1.4)
    page.text(0.08, 0.04, "Below the threshold does not rule out a lesion.", size=9, color="#a00000")
    return page


def _table(regions: Sequence[ReportedRegion], count: int) -> str:
    if not regions:
        return "No region is above the threshold."
    rows = [f"{'region':>6} {'peak':>6} {'p':>7} {'volume ml':>10} {'diameter mm':>12}  position R A S mm"]
    for number, one in enumerate(regions[:_LISTED], 1):
        volume = "-" if one.region.volume_mm3 is None else f"{one.region.volume_mm3 / 1000:.2f}"
        p_value = "-" if one.p_value is None else f"{one.p_value:.4f}"
        place = "  ".join(f"{value:.0f}" for value in one.region.peak_position or ())
        diameter = f"{one.shape.longest_diameter:.1f}"
        outside = "  outside the body" if one.region.outside_body else ""
        rows.append(f"{number:>6} {one.region.peak:>6.3f} {p_value:>7} {volume:>10} {diameter:>12}  {place}{outside}")
    if count > min(len(regions), _LISTED):
        rows.append(f"and {count - min(len(regions), _LISTED)} more with lower peaks")
    return "\n".join(rows)


def _contact_sheet(pictures: Sequence[NDArray[np.uint8]], report: SeriesReport) -> Figure:
    page = Figure(_PAGE)
    for place, picture in enumerate(pictures):
        axes = page.add_subplot(3, 2, place + 1)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
    page.subplots_adjust(left=0.05, right=0.95, top=0.95, bottom=0.06, wspace=0.04, hspace=0.06)
    page.text(0.08, 0.05, "\n".join(textwrap.wrap(report.statement, 110)), size=7, va="top", color="#a00000")
    return page
