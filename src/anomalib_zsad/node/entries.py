"""What goes into the queue and comes out of it: instances, series, what became of them; and names that tell nothing."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

StudyState = Literal["receiving", "complete", "screening", "screened", "failed"]
SeriesState = Literal["screened", "not screened", "failed"]
Stored = Literal["stored", "known", "conflict"]


@dataclass(frozen=True)
class Arrival:
    """An instance whose file lies on the disk under a passing name.

    Attributes:
        sop_uid: Its SOP Instance UID.
        study: Its Study Instance UID.
        series: Its Series Instance UID.
        digest: SHA-256 of its data set, hexadecimal.
        size: Of its file, in bytes.
    """

    sop_uid: str
    study: str
    series: str
    digest: str
    size: int

    @property
    def place(self) -> str:
        """Where its file lies, relative to the folder of received files: hashes of UIDs, never the UIDs."""
        names = hidden_name("study", self.study), hidden_name("series", self.series)
        return "/".join([*names, f"{hidden_name('instance', self.sop_uid)}.dcm"])


@dataclass(frozen=True)
class SeriesOutcome:
    """What became of a series.

    Attributes:
        uid: Series Instance UID.
        state: `screened`, `not screened` (no rule wants it, or it holds nothing to screen) or `failed`.
        reason: Why, without patient data; warnings where it was screened.
        rule: Name of the rule that chose it.
        digest: Which instances it had (`ReceivedSeries.digest`).
        folder: The folder of its outputs, relative to that of results.
        slices: How many slices were screened.
        objects: DICOM objects to send: SOP Instance UID, file relative to the folder of results, SHA-256.
    """

    uid: str
    state: SeriesState
    reason: str = ""
    rule: str = ""
    digest: str = ""
    folder: str = ""
    slices: int = 0
    objects: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class ReceivedSeries:
    """A series of a complete study.

    Attributes:
        uid: Series Instance UID.
        files: Its files, relative to the folder of received files.
        digest: SHA-256 of its instances' UIDs and contents.
        deleted: How many of its instances were removed after an earlier success.
        own: Whether an instance is one that this node sent: a result that came back.
        done: Its digest when it was last screened, or left out on purpose; empty where it was not.
    """

    uid: str
    files: tuple[str, ...]
    digest: str
    deleted: int
    own: bool
    done: str


def hidden_name(kind: str, uid: str) -> str:
    """A name for files and folders that tells nothing: `KIND-` and 32 hexadecimal digits of the UID's SHA-256.

    Its first ten digits are those of the pseudonym in reports (`volumes.reading.discovery.pseudonym`).
    """
    return f"{kind}-{sha256(uid.encode()).hexdigest()[:32]}"


def shown_name(kind: str, uid: str) -> str:
    """The pseudonym of a study or series, as reports show it."""
    return f"{kind}-{sha256(uid.encode()).hexdigest()[:10]}"
