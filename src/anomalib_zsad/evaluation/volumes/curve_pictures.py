"""Curves of a set of volumes as pictures: legible at small sizes, with and without colour vision."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomalib_zsad.evaluation.volumes.bootstrap import Clusters, roc_band
from anomalib_zsad.evaluation.volumes.calibrated_figures import calibrated_figures
from anomalib_zsad.evaluation.volumes.dice import mean_dice
from anomalib_zsad.evaluation.volumes.figures import oracle_dice, recall_by_size
from anomalib_zsad.evaluation.volumes.froc import RATES
from anomalib_zsad.evaluation.volumes.lesion_figures import NO_LESIONS, rate_name
from anomalib_zsad.evaluation.volumes.roc import RocCurve, area
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

# Okabe & Ito's colours, told apart with any colour vision; lines also differ in style, and each is named beside it.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
_SIZE, _DPI = (5.4, 4.6), 144
_STYLE = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}
_BAND_POINTS = 201
# Of an ROC curve: nothing flagged, and everything.
_POINTS_OF_NO_CURVE = 2


def pictures(volumes: VolumeSet) -> dict[str, bytes]:
    """PNG files by name; one whose figure is not defined says so and why."""
    drawings: dict[str, Callable[[Axes, VolumeSet], None]] = {
        "slice_roc.png": _slice_roc,
        "volume_roc.png": _volume_roc,
        "froc.png": _froc,
        "recall_by_size.png": _recall,
        "dice.png": _dice,
    }
    return {name: _png(draw, volumes) for name, draw in drawings.items()}


def _png(draw: Callable[[Axes, VolumeSet], None], volumes: VolumeSet) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        picture = Figure(figsize=_SIZE, dpi=_DPI)
        FigureCanvasAgg(picture)
        draw(picture.add_subplot(), volumes)
        picture.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _empty(axes: Axes, reason: str, what: str = "not defined") -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"{what}:\n{reason}", ha="center", va="center", transform=axes.transAxes)


def _name(axes: Axes, text: str, at: tuple[float, float], colour: str, **options: Any) -> None:
    """A label beside what it names, on white so that lines do not cross it."""
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
    axes.annotate(text, at, color=colour, bbox=box, fontsize=11, **options)


def _slice_roc(axes: Axes, volumes: VolumeSet) -> None:
    threshold = volumes.rule.thresholds["slice"] if volumes.rule.calibration is not None else None
    interval = None if volumes.slice_curve.lacking else volumes.slice_interval[0]
    _roc(axes, "slices", volumes.slices, volumes.slice_curve, interval, threshold, band=False)


def _volume_roc(axes: Axes, volumes: VolumeSet) -> None:
    threshold = volumes.rule.thresholds["volume"] if volumes.rule.calibration is not None else None
    interval = None if volumes.volume_curve.lacking else volumes.volume_interval[0]
    _roc(axes, "volumes", volumes.volumes, volumes.volume_curve, interval, threshold, band=True)


def _roc(
    axes: Axes,
    what: str,
    members: Clusters,
    curve: RocCurve,
    interval: tuple[float, float] | None,
    calibrated: float | None,
    *,
    band: bool,
) -> None:
    axes.set_title(f"ROC of {what}")
    value = area(curve)
    if value is None:
        _empty(axes, f"{curve.lacking} of the {what}")
        return
    if members.few:
        _empty(axes, members.few.replace(" (", "\n("), "no curve")
        return
    if len(curve.thresholds) == _POINTS_OF_NO_CURVE:
        _empty(axes, f"all {what} have the same score", "no curve")
        return
    if band and interval is not None:
        rates = np.linspace(0, 1, _BAND_POINTS)
        low, high = roc_band(members, rates)
        axes.fill_between(rates, low, high, color=_BLUE, alpha=0.18, linewidth=0, step="post")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1.2)
    axes.step(curve.false_positive_rate, curve.sensitivity, where="post", color=_BLUE, linewidth=2)
    spread = "" if interval is None else f"\n95 %: {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
    below = "\nband: 95 % over patients" if band and interval is not None else ""
    counted = f"\n{curve.abnormal} with, {curve.normal} without lesion"
    # Chance runs from corner to corner: one of the other corners is free, above it or below.
    place = (0.97, 0.04, "right", "bottom") if value >= 0.5 else (0.03, 0.97, "left", "top")
    text = f"AUROC {100 * value:.1f} %{spread}{below}{counted}"
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2}
    axes.text(*place[:2], text, ha=place[2], va=place[3], color=_BLUE, fontsize=11, bbox=box, transform=axes.transAxes)
    if calibrated is not None:
        _calibrated_point(axes, members, calibrated)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="share of normal flagged (1 - specificity)")
    axes.set_ylabel("sensitivity")


def _calibrated_point(axes: Axes, members: Clusters, threshold: float) -> None:
    flagged = members.scores.astype(np.float32) >= np.float32(threshold)
    x, y = (float(flagged[part].mean()) for part in (~members.abnormal, members.abnormal))
    axes.plot([x], [y], marker="D", markersize=8, color=_ORANGE, linestyle="none", clip_on=False)
    side = {"xytext": (10, -4), "ha": "left"} if x < 0.6 else {"xytext": (-10, -4), "ha": "right"}
    _name(axes, "calibrated", (x, y), _ORANGE, textcoords="offset points", **side)


def _froc(axes: Axes, volumes: VolumeSet) -> None:
    curve = volumes.froc
    axes.set_title("FROC: lesions found")
    if not curve.lesions:
        _empty(axes, NO_LESIONS)
        return
    if volumes.few_abnormal:
        _empty(axes, volumes.few_abnormal.replace(" (", "\n("), "no curve")
        return
    shown = np.maximum(curve.false_positives, RATES[0] / 2)
    axes.step(shown, curve.sensitivity, where="post", color=_BLUE, linewidth=2)
    known = [rate for rate in RATES if curve.reaches(rate)]
    values = [float(curve.sensitivity[curve.place(rate)]) for rate in known]
    axes.plot(known, values, marker="o", markersize=7, color=_BLUE, linestyle="none")
    for rate, value in zip(known, values, strict=True):
        _name(axes, f"{100 * value:.0f}", (rate, value), _BLUE, xytext=(0, 7), textcoords="offset points", ha="center")
    mean = curve.mean_sensitivity
    text = f"{curve.lesions} lesions, {curve.volumes} volumes"
    text += "" if mean is None else f"\nmean of the seven: {100 * mean:.1f} %"
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2}
    high = mean is not None and mean > 0.5
    axes.text(0.97, 0.04 if high else 0.97, text, ha="right", va="bottom" if high else "top", color=_BLUE, fontsize=11,
              bbox=box, transform=axes.transAxes)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, [rate_name(rate) for rate in RATES])
    axes.minorticks_off()
    axes.set(xlim=(RATES[0] / 1.3, RATES[-1] * 1.3), ylim=(-0.02, 1.09), xlabel="false positives per volume")
    axes.set_ylabel("share of lesions pointed to")


def _recall(axes: Axes, volumes: VolumeSet) -> None:
    axes.set_title("Lesions found, by size")
    rows = [row for row in recall_by_size(volumes) if row.lesions]
    if not rows:
        _empty(axes, NO_LESIONS)
        return
    rules = list(rows[0].recall)
    if not rules:
        _empty(axes, "the FROC curve ends before\n1 false positive per volume")
        return
    if volumes.few_abnormal:
        _empty(axes, volumes.few_abnormal.replace(" (", "\n("), "counts only, in readers.md")
        return
    styles = [(_BLUE, ""), (_ORANGE, "//"), (_GREEN, "..")]
    height = 0.8 / len(rules)
    for number, (rule, (colour, hatch)) in enumerate(zip(rules, styles, strict=False)):
        places = np.arange(len(rows)) + (number - (len(rules) - 1) / 2) * height
        values = [row.recall[rule].value or 0.0 for row in rows]
        axes.barh(places, values, height * 0.9, color=colour, hatch=hatch, edgecolor="white", label=rule)
        for place, value, row in zip(places, values, rows, strict=True):
            count = f"{row.recall[rule].count} of {row.lesions}"
            axes.text(value + 0.015, place, count, va="center", color=colour, fontsize=10)
    axes.set_yticks(range(len(rows)), [row.size for row in rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, 1.22), xlabel="share of lesions; size: diameter of a sphere")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.16), frameon=False, fontsize=10.5, handlelength=1.4)


def _dice(axes: Axes, volumes: VolumeSet) -> None:
    curves = [record.dice for record in volumes.records if record.dice is not None]
    axes.set_title(f"Dice over the threshold, {len(curves)} volumes")
    if not curves:
        _empty(axes, NO_LESIONS)
        return
    if volumes.few_abnormal:
        _empty(axes, volumes.few_abnormal.replace(" (", "\n("), "no curve")
        return
    thresholds, means = mean_dice(curves)
    axes.plot(thresholds, means, color=_BLUE, linewidth=2)
    best = oracle_dice(volumes)
    top, at = best.value or 0.0, best.threshold or 0.0
    axes.set(
        ylim=(0, max(0.05, 1.4 * top)), xlabel="threshold of the map", ylabel="Dice, mean over volumes with lesions"
    )
    middle = float(np.mean(axes.get_xlim()))
    calibrated = _calibrated_dice(volumes)
    if calibrated is not None:
        threshold, value = calibrated
        axes.axvline(threshold, color=_ORANGE, linestyle="--", linewidth=1.2, zorder=1)
        axes.plot([threshold], [value], marker="D", markersize=8, color=_ORANGE, linestyle="none", clip_on=False)
        side = {"xytext": (6, -2), "ha": "left"} if threshold < middle else {"xytext": (-6, -2), "ha": "right"}
        place = (threshold, 1.4 * top)
        _name(axes, f"calibrated: {value:.3f}", place, _ORANGE, textcoords="offset points", va="top", **side)
        middle = threshold  # the other label goes to the other side
    corner, side_of = (0.02, "left") if at <= middle else (0.98, "right")
    line = {"arrowstyle": "-", "color": _BLUE, "linewidth": 1, "shrinkB": 6}
    text = f"oracle: {top:.3f}\n(masks in view)"
    options = {"xytext": (corner, 0.88), "textcoords": "axes fraction", "ha": side_of, "va": "top"}
    _name(axes, text, (at, top), _BLUE, arrowprops=line, **options)
    axes.plot([at], [top], marker="o", markersize=8, color=_BLUE, linestyle="none")


def _calibrated_dice(volumes: VolumeSet) -> tuple[float, float] | None:
    """The calibrated threshold and the mean Dice there."""
    if volumes.rule.calibration is None:
        return None
    dice = calibrated_figures(volumes)["Dice"]
    return None if dice.threshold is None or dice.value is None else (dice.threshold, dice.value)
