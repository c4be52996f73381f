"""What the commands that screen volumes share: options of the screening itself, and the table at the end."""

import argparse
from collections.abc import Sequence

from anomalib_zsad.calibration.decision_rule import DecisionRule, decision_in_words
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import decision_rule
from anomalib_zsad.cli.reading_options import SLICING, reading_options
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.object_store import Place
from anomalib_zsad.outputs.terminal import console, plain_table, visible
from anomalib_zsad.records.run_summary import REFUSED, RunEntry, counts, nothing_was_left
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions

_OUTPUTS = {
    "output_types": "results to write; all but nifti are DICOM objects",
    "map_type": "type of NIfTI maps; int16 is within 2e-5 of float32, uint8 within 2e-3",
    "previews": "number of pictures of top slices",
    "std_map": "write the map of standard deviations as well",
    "pages": "no report.html for series, no index.html for the run",
    "viewer": "niivue writes viewer.html too, the volume in 3D",
}
PARTS = {
    "num_parts": "into how many parts the series are divided, by their names; start the command once for each part",
    "part_id": "which of them to screen, from 0; parts may share an output folder, or be merged",
}
_LISTED = 200


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    """Add what fills `VolumeOptions`, in a group of its own."""
    add_options(
        parser.add_argument_group("screening"),
        VolumeOptions,
        {**_OUTPUTS, **SLICING},
        output_types=("-ot", "--output-type"),
    )


def screening_options(args: argparse.Namespace) -> ScreeningOptions:
    """How to screen, from all options of a command.

    Raises:
        ValueError: If something makes no sense.
        FileNotFoundError: If there is no such calibration, or no library for a viewer.
    """
    volume, rule = fill(VolumeOptions, args), decision_rule(args, "volumes")
    if rule.own_scale:
        volume.check_scale()
    return fill(ScreeningOptions, args, reading=reading_options(args), volume=volume, rule=rule)


def listed(entries: Sequence[RunEntry]) -> Sequence[RunEntry]:
    """The entries that are printed: all, or of many those that were refused, and those of the highest scores."""
    if len(entries) <= _LISTED:
        return entries
    ordered = sorted(entries, key=lambda entry: (entry.status != REFUSED, -(entry.volume_score or 0.0)))
    return ordered[:_LISTED]


def print_summary(output: Place, entries: Sequence[RunEntry], code: ExitCode, rule: DecisionRule) -> None:
    """Print what became of every series, reasons below, and where to look; without a calibration no decision."""
    print_entries(output, entries, code, rule.statement, calibrated=rule.calibration is not None)


def print_entries(
    output: Place, entries: Sequence[RunEntry], code: ExitCode, statement: str, *, calibrated: bool
) -> None:
    """The same for a run of which the rule is not at hand, but what it says of the scores."""
    from rich.text import Text

    out = console()
    counted = ("flagged", "unsure", "score", "p") if calibrated else ("slices", "score")
    decided = ("decision",) if calibrated else ()
    table = plain_table("series", "status", *counted, *decided, whole=["series"], numbers=counted)
    shown = listed(entries)
    for entry in shown:
        table.add_row(*(Text(visible(cell)) for cell in _cells(entry, calibrated=calibrated)))
    out.print(table)
    for entry in shown:
        if entry.reason:
            told = visible(f"{entry.series or 'file'}: {entry.status}: {entry.reason}")
            out.print(told, markup=False, highlight=False, soft_wrap=True)
    if len(entries) > len(shown):
        told = ", ".join(f"{number:,} {status}" for status, number in counts(entries).items() if number)
        listing = f"{len(shown)} of {len(entries):,} are listed, what was refused and the highest scores first"
        out.print(f"{listing}; summary.csv has all: {told}", markup=False, highlight=False, soft_wrap=True)
    look = f"; look at {output / 'index.html'}" if (output / "index.html").is_file() else ""
    if nothing_was_left(entries):
        out.print("nothing left to do: an earlier run had screened all of it")
    out.print(
        f"{statement}\nwritten to {output} (exit code {code.value}: {code.meaning}){look}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _cells(entry: RunEntry, *, calibrated: bool) -> list[str]:
    """A line of the table."""
    name, score = entry.series or "-", "" if entry.volume_score is None else f"{entry.volume_score:.3f}"
    if entry.slices is None:
        return [name, entry.status]
    if not calibrated:
        return [name, entry.status, str(entry.slices), score]
    flagged, p_value = f"{entry.flagged_slices} of {entry.slices}", entry.volume_p_value
    told = "" if p_value is None else f"{p_value:.3f}"
    decision = decision_in_words(entry.volume_decision or "")
    return [name, entry.status, flagged, str(entry.uncertain_slices), score, told, decision]
