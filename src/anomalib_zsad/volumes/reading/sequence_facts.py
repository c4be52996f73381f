"""How a series was acquired, as far as plain numbers and codes of its header say; no text that a person wrote."""

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from anomalib_zsad.volumes.reading.frame_moments import Moment
from anomalib_zsad.volumes.reading.tag_values import codes, find, number

SequenceFact = tuple[str, float | str]
"""Name, with its unit, and value."""

_TIMES = (
    ("TR ms", "MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    ("TI ms", "", "InversionTime"),
    ("flip angle degrees", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("tube voltage kV", "", "KVP"),
)
# DICOM's terms for the kind of scan; anything else may be what a person wrote.
_SCANNING = frozenset({"SE", "IR", "GR", "EP", "RM"})
_OF_MOMENTS = {"b-value": "b s/mm2", "echo": "TE ms"}


def sequence_of(groups: list[Dataset], moments: Iterable[Moment]) -> tuple[SequenceFact, ...]:
    """What a frame's header says of its acquisition.

    Args:
        groups: Functional groups of the frame, and the data set last.
        moments: What tells frames apart, which has b-value and echo time already.
    """
    facts: dict[str, float | str] = {}
    said = codes(groups[-1].get("ScanningSequence"))
    scanning = "/".join(part for part in said if part in _SCANNING)
    if scanning:
        facts["sequence"] = scanning
    for name, value in moments:
        if name in _OF_MOMENTS and isinstance(value, float | int):
            facts.setdefault(_OF_MOMENTS[name], float(value))
    for name, sequence, keyword in _TIMES:
        found = number(find(groups, sequence, keyword))
        if found:
            facts[name] = found
    return tuple(facts.items())


def common_facts(facts: Sequence[tuple[SequenceFact, ...]]) -> dict[str, float | str]:
    """Those facts that hold for all frames of a volume, by name."""
    if not facts:
        return {}
    shared = set(facts[0]).intersection(*facts[1:])
    return {name: value for name, value in facts[0] if (name, value) in shared}
