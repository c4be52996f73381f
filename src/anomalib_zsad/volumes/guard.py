"""One bad volume never ends a run: whatever goes wrong with it becomes a finding."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.outputs.memory_errors import is_out_of_memory
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, SeriesRefusedError

_PACKAGE = Path(__file__).resolve().parents[1]


Value = TypeVar("Value")


def guarded(work: Callable[[], Value]) -> Value | Finding:
    """Do something for one series: what it gives, or the finding that whatever went wrong becomes.

    Messages of unknown exceptions may quote patient data, so only their type and place are told.

    Raises:
        DiskError: If the output cannot be written: that ends the run.
    """
    try:
        return work()
    except SeriesRefusedError as error:
        return error.finding
    except DiskError:
        raise
    except Exception as error:
        # One bad series never stops the others.
        if is_out_of_memory(error):
            message = "not enough memory for this volume: use a smaller --batch-size, or --device cpu"
            return Finding(Fault.OUT_OF_MEMORY, Outcome.REFUSE, message)
        steps = traceback.extract_tb(error.__traceback__)
        place = next((step for step in reversed(steps) if _PACKAGE in Path(step.filename).parents), steps[-1])
        message = f"unexpected {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
        return Finding(Fault.FAILED, Outcome.REFUSE, message)
