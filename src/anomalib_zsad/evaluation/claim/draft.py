"""From an evaluation to the draft: what the run knows of each item, the rest marked as to be written."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from anomalib_zsad.evaluation.claim.facts import facts_of
from anomalib_zsad.evaluation.claim.items import ITEMS, Item
from anomalib_zsad.evaluation.evaluate import Evaluation
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.terminal import visible

NAME = "claim.md"
_HEAD = """\
# Draft of a CLAIM checklist (2024 update)

Item numbers are those of Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024
Update", Radiology: Artificial Intelligence 2024; topics are in our words. Fill in the journal's own form, and check
every number against it. What stands under "From the run" was written by the program and is true of this run alone;
what only authors know is marked **To be written**. A checklist that is filled in does not make a study a good one.
"""


def write_claim(
    folder: Path,
    evaluation: Evaluation,
    settings: Settings,
    provenance: Mapping[str, Any],
    strata: Sequence[Stratum] = (),
) -> Path:
    """Write `claim.md`, whole.

    Args:
        folder: The output folder, which exists.
        evaluation: What came of the run.
        settings: How it was evaluated.
        provenance: What made the figures, as the other reports have it.
        strata: Of what was evaluated.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written.
    """
    known = facts_of(evaluation, settings, provenance, strata)
    write_text(folder / NAME, "\n".join(_lines(known, provenance)))
    return folder / NAME


def _lines(known: Mapping[int, Sequence[str]], provenance: Mapping[str, Any]) -> Iterator[str]:
    yield _HEAD
    if provenance.get("notice"):
        yield f"**{provenance['notice']}**\n"
    yield f"The run says something of {len(known)} of the {len(ITEMS)} items.\n"
    for section, items in groupby(ITEMS, lambda item: item.section):
        yield f"## {section}\n"
        for item in items:
            yield from _item(item, known.get(item.number, ()))


def _item(item: Item, facts: Sequence[str]) -> Iterator[str]:
    yield f"### {item.number}. {item.topic}\n"
    if facts:
        yield "From the run:\n"
        yield from (f"- {_plain(fact)}" for fact in facts)
        yield ""
    yield f"- [ ] **To be written:** {item.wanted}.\n"


def _plain(text: str) -> str:
    """Names that others chose must not act in Markdown or on a terminal."""
    return visible(text).replace("\n", " ").replace("<", "&lt;")
