"""The table of faults in the documentation is the enum."""

import re
from pathlib import Path

from anomalib_zsad.volumes import faults
from anomalib_zsad.volumes.faults import Fault, Outcome

README = Path(faults.__file__).parent / "README.md"
LETTERS = {"R": Outcome.REFUSE, "S": Outcome.SKIP, "W": Outcome.WARN}


def rows() -> dict[int, str]:
    """What the documentation says of each number."""
    found: dict[int, str] = {}
    for line in README.read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| (\d+) \| (.*) \|$", line)
        if match:
            found[int(match[1])] = match[2]
    return found


def test_every_fault_has_its_row_and_every_row_its_fault() -> None:
    assert sorted(rows()) == [fault.number for fault in Fault]


def test_rows_name_the_outcomes_that_faults_may_have() -> None:
    for fault in Fault:
        said = {LETTERS[letter] for letter in re.findall(r"\b[RSW]\b", rows()[fault.number])}
        assert said <= fault.outcomes, f"row {fault.number} names an outcome that {fault.name} cannot have"
        if fault.number > 38:
            assert said == fault.outcomes, f"row {fault.number} leaves out an outcome of {fault.name}"
