"""What objects derived from a source have in common: who made them, what they say of themselves, and their UIDs."""

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from anomalib_zsad.volumes.uid_pseudonyms import hash_uid
from anomalib_zsad.volumes.writing.dicom_source import IDENTITY, SourceImages

MANUFACTURER = "anomalib-zsad"
RESEARCH_ONLY = "Research use only, not for diagnosis"
MARK = "research use only"
"""Ends the description of every series of results, by which `pull` knows them again."""
# Keywords of UIDs that are made for an object. All others refer to something that is there already.
_MADE = {"SOPInstanceUID", "SeriesInstanceUID", "DimensionOrganizationUID", "TrackingUID", "UID"}


@dataclass(frozen=True)
class Algorithm:
    """What made an object.

    Attributes:
        name: Of the model.
        version: Of this package.
        settings: Text that differs where anything does that decides results.
    """

    name: str
    version: str
    settings: str

    def equipment(self) -> dict[str, Any]:
        """The equipment module of an object (PS3.3, C.7.5.2)."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.name,
            "software_versions": self.version,
            "device_serial_number": "0",
        }


def describe_series(made: Dataset, source: SourceImages, what: str) -> None:
    """Say of which patient and study an object is, what its series is, and that it is for research use only.

    Args:
        made: The object.
        source: What it was made from.
        what: Goes into the series description (64 characters at most), with the number of images.
    """
    for keyword in ("SpecificCharacterSet", *IDENTITY):
        if keyword in source.headers[0]:
            made[keyword] = source.headers[0][keyword]
    # The number tells results of a series that grew from earlier ones, which a PACS keeps beside them.
    made.SeriesDescription = f"{what} ({len(source.slots)} images) - {MARK}"


def settle_uids(made: Dataset, source: SourceImages, algorithm: Algorithm, kind: str, number: int = 1) -> None:
    """Derive the UIDs of an object from its source and the settings, so that the same run makes the same object.

    A PACS that has it takes a second one for the same.

    Args:
        made: The object; its UIDs are replaced, and wherever else they stand in it.
        source: What it was made from.
        algorithm: What made it.
        kind: Which kind of object; those of a kind are one series.
        number: Which of the series.
    """
    series = "|".join((kind, algorithm.name, algorithm.version, algorithm.settings, *source.identities))
    derived = {str(made.SeriesInstanceUID): hash_uid(f"{series}|series")}
    taken = set(source.uids)
    for element in made.iterall():
        if element.VR == "UI" and element.keyword in _MADE and str(element.value) not in taken:
            derived.setdefault(str(element.value), hash_uid(f"{series}|{number}|{len(derived)}"))
    for element in made.iterall():
        if element.VR == "UI":
            element.value = _replaced(element.value, derived)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID


def _replaced(value: Any, derived: dict[str, str]) -> Any:
    if isinstance(value, str):
        return derived.get(value, value)
    return [derived.get(str(one), str(one)) for one in value or ()]
