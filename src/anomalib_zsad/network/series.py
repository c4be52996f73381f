"""Which series are asked for, and what is told of those that are there."""

import re
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

_DATE = re.compile(r"(\d{8})?(-)?(\d{8})?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True)
class SeriesQuery:
    """Criteria, all of which a series must meet; empty ones are met by all.

    Attributes:
        patient_id: `*` and `?` stand for any characters and for any one.
        study_date: `YYYYMMDD`, or a range `YYYYMMDD-YYYYMMDD` with either end left out; both ends are in it.
        modalities: The series' modality is one of these codes, such as `CT`.
        description: The series' description, in any case, with `*` and `?`.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        limit: At most so many series; `None` for all.
    """

    patient_id: str = ""
    study_date: str = ""
    modalities: tuple[str, ...] = ()
    description: str = ""
    study_uid: str = ""
    series_uid: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_dates(self.study_date)
        for code in self.modalities:
            if not re.fullmatch(r"[A-Z0-9_]{1,16}", code):
                raise ValueError(f"{code!r} is no modality; they are codes in capitals, such as CT or MR")
        for uid in (self.study_uid, self.series_uid):
            if uid and (not _UID.fullmatch(uid) or len(uid) > 64):
                raise ValueError(f"{uid!r} is no UID: numbers with dots between them, 64 characters at most")
        if any("\\" in text or not text.isprintable() for text in (self.patient_id, self.description)):
            raise ValueError("a patient ID or description to ask for holds a backslash or a control character")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"the number of series is at least 1, not {self.limit}")

    @property
    def asks_for_all(self) -> bool:
        """Whether every series that there is meets it."""
        return self == SeriesQuery()

    @property
    def names_studies(self) -> bool:
        """Whether it can be asked which studies, before their series are asked for."""
        return bool(self.patient_id or self.study_date or self.study_uid)

    @property
    def only_modality(self) -> str:
        """The modality, where just one is asked for: a server can be asked for no more than one."""
        return self.modalities[0] if len(self.modalities) == 1 else ""

    def takes(self, series: "FoundSeries") -> bool:
        """Whether a series meets the criteria. Servers are free to ignore some, so their answers are checked."""
        return (
            (not self.patient_id or fnmatchcase(series.patient_id, _literal_brackets(self.patient_id)))
            and _in_range(series.study_date, self.study_date)
            and (not self.modalities or series.modality in self.modalities)
            and (
                not self.description
                or fnmatchcase(series.description.casefold(), _literal_brackets(self.description.casefold()))
            )
            and self.study_uid in ("", series.study_uid)
            and self.series_uid in ("", series.series_uid)
        )


@dataclass(frozen=True)
class FoundSeries:
    """A series that a server has.

    Attributes:
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        modality: Its code.
        images: How many instances it has; `None` where that is not told.
        patient_id: Patient data.
        study_date: `YYYYMMDD`; patient data.
        description: Of the series; may hold patient data.
    """

    study_uid: str
    series_uid: str
    modality: str = ""
    images: int | None = None
    patient_id: str = ""
    study_date: str = ""
    description: str = ""


def _check_dates(text: str) -> None:
    match = _DATE.fullmatch(text)
    ends = [end for end in (match[1], match[3]) if end] if match is not None else []
    try:
        days = [datetime.strptime(end, "%Y%m%d") for end in ends]
    except ValueError:
        days = []
    if text and (not days or (len(days) == 2 and (match is None or not match[2] or days[0] > days[1]))):
        raise ValueError(f"{text!r} is no date or range of dates; the forms are 20260131, 20260101-20260131, 20260101-")


def _in_range(day: str, dates: str) -> bool:
    if not dates:
        return True
    first, dash, last = dates.partition("-")
    if not dash:
        return day == first
    return len(day) == 8 and (not first or day >= first) and (not last or day <= last)


def _literal_brackets(pattern: str) -> str:
    """DICOM knows `*` and `?` only; Python's patterns have brackets as well."""
    return pattern.replace("[", "[[]")
