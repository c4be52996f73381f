"""Coded concepts that no standard scheme has, of a scheme of our own (PS3.16, 8.2: it begins with 99)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

SCHEME = "99ZSAD"


@dataclass(frozen=True)
class Concept:
    """A code value (at most 16 characters) and its meaning (at most 64)."""

    value: str
    meaning: str

    def concept(self) -> "CodedConcept":
        """As highdicom takes it."""
        from highdicom.sr import CodedConcept

        return CodedConcept(self.value, SCHEME, self.meaning)


ANOMALY_SCORE = Concept("score", "Anomaly score, 0 normal to 1 abnormal")
SCORE_DEVIATION = Concept("score-std", "Standard deviation of the score over sampled prompts")
PEAK = Concept("peak", "Highest value of the anomaly map in the region")
P_VALUE = Concept("p-value", "Conformal p-value among normal cases")
THRESHOLD = Concept("threshold", "Threshold of the anomaly map")
DECISION = Concept("decision", "Decision at the threshold")
ABOVE = Concept("above", "Above the threshold; says nothing about a diagnosis")
BELOW = Concept("below", "Below the threshold; does not rule out a lesion")
UNCERTAIN = Concept("uncertain", "Uncertain: the sampled prompts do not agree")
BLANK = Concept("blank", "Blank: nothing was scored")
REGION = Concept("region", "Region of the anomaly map above the threshold")
SERIES = Concept("series", "Series as a whole")
REGION_COUNT = Concept("regions", "Number of regions above the threshold")
