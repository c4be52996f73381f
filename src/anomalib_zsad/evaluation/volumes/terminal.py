"""Figures for readers as tables of a terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from anomalib_zsad.evaluation.volumes.definitions import GROUPS
from anomalib_zsad.evaluation.volumes.figures import counts, figures, recall_by_size
from anomalib_zsad.evaluation.volumes.readers_report import NOT_ENTERED, title
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

_SHOWN = ("volumes scored", "volumes with a lesion", "patients", "slices", "slices with a lesion", "lesions")


def reader_tables(volumes: VolumeSet) -> list[Table]:
    """The figures with their remarks, and the lesions found by size.

    Args:
        volumes: The scored volumes.
    """
    return [_figures(volumes), _recall(volumes)]


def _figures(volumes: VolumeSet) -> Table:
    number = counts(volumes)
    heading = f"For readers: {title(volumes)}\n" + ", ".join(f"{name}: {number[name]}" for name in _SHOWN)
    failed = f"{len(volumes.failures)} of {volumes.found} volumes failed. {NOT_ENTERED}" if volumes.failures else ""
    table = Table("figure", "value", "remarks", title=Text(heading), title_justify="left", box=SIMPLE_HEAD,
                  caption=Text(failed), caption_justify="left", pad_edge=False)  # fmt: skip
    for group, part in figures(volumes).items():
        table.add_row(Text(GROUPS[group], style="bold"))
        for name, figure in part.items():
            table.add_row(Text(f"  {name}"), Text(figure.text()), Text(figure.note))
    return table


def _recall(volumes: VolumeSet) -> Table:
    rows = recall_by_size(volumes)
    table = Table("size", "lesions", *rows[0].recall, title="Lesions found by size (diameter of a sphere)",
                  title_justify="left", box=SIMPLE_HEAD, pad_edge=False)  # fmt: skip
    for row in rows:
        table.add_row(row.size, str(row.lesions), *(figure.text() for figure in row.recall.values()))
    return table
