"""The page of an evaluation: `report.html`, with tables, figures for readers, curves, failures and hardest cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.pages.document import data_address, render
from anomalib_zsad.scoring.demonstration import demonstration_notice

NAME = "report.html"


@dataclass(frozen=True)
class FigureLine:
    """A figure as people read it.

    Attributes:
        name, text: What it is, and its value with interval and counts.
        threshold: Score from which something counted; `None` without one.
        remark: What must be known of it.
        definition: What it means, in plain words.
    """

    name: str
    text: str
    threshold: float | None
    remark: str
    definition: str


@dataclass(frozen=True)
class HardCase:
    """A volume that the model got wrong more than others.

    Attributes:
        volume: Pseudonym.
        score: Of the volume.
        rank: Its place among all scored volumes, 1 for the highest.
        slice: Where to look.
        told: What is hard about it.
        link: Address of its page, relative to the report; empty without one.
    """

    volume: str
    score: float
    rank: int
    slice: int
    told: str
    link: str = ""


@dataclass(frozen=True)
class EvaluatedSet:
    """The volumes of a set under one run.

    Attributes:
        title: Which set and run.
        statement: What must be said of the scores.
        calibrated: Whether a calibration was in use.
        counts: How many of what there are.
        groups: Figures by heading.
        recall: Heading and rows of the lesions found by size.
        curves: PNG files by what they show.
        failures: Pseudonym and reason of each volume that failed.
        missed: Volumes with a lesion and the lowest scores.
        alarms: Volumes without one and the highest scores.
    """

    title: str
    statement: str
    calibrated: bool
    counts: Mapping[str, int]
    groups: Mapping[str, Sequence[FigureLine]]
    recall: Sequence[Sequence[str]]
    curves: Mapping[str, bytes]
    failures: Sequence[tuple[str, str]] = ()
    missed: Sequence[HardCase] = ()
    alarms: Sequence[HardCase] = ()

    def pictures(self) -> dict[str, str]:
        """The curves as `data:` addresses."""
        return {name: data_address(content, "png") for name, content in self.curves.items()}


@dataclass(frozen=True)
class EvaluationPage:
    """What the page shows.

    Attributes:
        title: Method and checkpoints.
        backbone: Its name.
        headings, rows: The table of categories, in percent.
        notes: What must be known of rows.
        sets: Volumes, with figures for readers.
        strata: Title and rows of stratum, figure, value and remark.
        provenance: What made the figures.
        files: Names of the files beside the page.
    """

    title: str
    backbone: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    sets: Sequence[EvaluatedSet] = ()
    strata: Sequence[tuple[str, Sequence[Sequence[str]]]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()

    def write(self, folder: Path) -> Path:
        """Write the page, whole; returns its file.

        Raises:
            OSError: If it cannot be written.
        """
        notice = demonstration_notice({"backbone": self.backbone})
        write_text(folder / NAME, render("evaluation.html.j2", (), page=self, notice=notice))
        return folder / NAME
