"""Figures for readers as tables of a terminal; remarks stand below, so that no figure is squeezed by them."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from anomalib_zsad.evaluation.volumes.definitions import GROUPS
from anomalib_zsad.evaluation.volumes.figures import counts, figures, recall_by_size
from anomalib_zsad.evaluation.volumes.readers_report import NOT_ENTERED, title
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.outputs.terminal import plain_table

_SHOWN = ("volumes scored", "volumes with a lesion", "patients", "slices", "slices with a lesion", "lesions")


def reader_tables(volumes: VolumeSet) -> list[RenderableType]:
    """The figures, the remarks on them, and the lesions found by size.

    Args:
        volumes: The scored volumes.
    """
    return [_figures(volumes), _recall(volumes)]


def _figures(volumes: VolumeSet) -> Group:
    number = counts(volumes)
    heading = f"For readers: {title(volumes)}\n" + ", ".join(f"{name}: {number[name]}" for name in _SHOWN)
    table = plain_table("figure", "value", "remark", title=heading)
    remarks: dict[str, int] = {}
    for group, part in figures(volumes).items():
        few = next((figure.few for figure in part.values() if figure.few), "")
        alone = [Text("counts only"), Text(str(remarks.setdefault(few, len(remarks) + 1)))] if few else []
        table.add_row(Text(GROUPS[group], style="bold"), *alone)
        for name, figure in part.items():
            if figure.few and figure.of is None:
                continue
            marks = [remarks.setdefault(note, len(remarks) + 1) for note in figure.note.split("; ") if note]
            table.add_row(Text(f"  {name}"), Text(figure.text()), Text(", ".join(map(str, marks))))
    failed = f"{len(volumes.failures)} of {volumes.found} volumes failed. {NOT_ENTERED}" if volumes.failures else ""
    told = [*(f"{mark}: {note}" for note, mark in remarks.items()), *([failed] if failed else [])]
    return Group(table, *(Text(line) for line in told))


def _recall(volumes: VolumeSet) -> Padding:
    rows = recall_by_size(volumes)
    rules = list(rows[0].recall)
    table = plain_table(
        "size",
        "lesions",
        *rules,
        whole=["size"],
        numbers=["lesions"],
        title="Lesions found by size (diameter of a sphere)",
    )
    for row in rows:
        if row.lesions:
            table.add_row(row.size, str(row.lesions), *(figure.text() for figure in row.recall.values()))
    empty = [row.size for row in rows if not row.lesions]
    if empty:
        table.caption, table.caption_justify = Text(f"none of {', '.join(empty)}"), "left"
    return Padding(table, (1, 0, 0, 0))
