"""Which volumes of a series that was split are wanted: `--select` by name and value, `--volume-index` by number."""

from collections.abc import Sequence

from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.repeated_positions import Part


def choose_parts(parts: Sequence[Part], options: ReadingOptions) -> list[Part]:
    """The volumes that were asked for; all where nothing was.

    Args:
        parts: Volumes of a series, in order.
        options: `select` holds `NAME=VALUE`: names are those that a series was split by (`time`, `echo`, `b`,
            `component` and so on) and `kind`. A name that a series was not split by leaves it alone. `volume_index`
            counts what is left, where a series was split.

    Raises:
        SeriesRefusedError: If there is no volume of this number.
    """
    chosen = [part for part in parts if all(_fits(part, wanted) for wanted in options.select)]
    index = options.volume_index
    if index is None or len(parts) < 2 or not chosen:
        return chosen
    if index >= len(chosen):
        names = ", ".join(part.suffix.removeprefix("-") for part in chosen[:10])
        refuse(Fault.REPEATED_POSITIONS, f"volume index {index} of {len(chosen)} volumes ({names}); the first is 0")
    return [chosen[index]]


def _fits(part: Part, wanted: str) -> bool:
    name, _, value = wanted.partition("=")
    if name == "kind":
        return {frame.kind for frame in part.frames} == {value}
    return name not in part.labels or part.labels[name] == value
