"""No patient data in outputs, names or messages, but for what DICOM objects say of patient and study."""

import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel
import pydicom
import pytest
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring import build
from anomalib_zsad.screening.options import ScreeningOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.uid_pseudonyms import hash_uid
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import affines, marked_voxels, write_nifti, write_series

# One valid value for every kind of text that DICOM knows, each to be found again.
PLANTED = {
    **dict.fromkeys(("AE", "CS", "LO", "PN", "SH"), "ZZSECRET"),
    **dict.fromkeys(("LT", "ST", "UC", "UT"), "ZZSECRET /home/zzsecret/file"),
    "UR": "http://zzsecret/home",
    "AS": "111Y",
    "DA": "19121212",
    "DT": "19121212235957",
    "TM": "235957",
}
SECRETS = ("ZZSECRET", "zzsecret", "19121212", "235957", "111Y")
TEXTS = {".json", ".csv", ".html", ".md"}
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDescription"),
)
# Text that decides how pixels are read; with an arbitrary value there would be no image to screen.
DECIDING = {"SpecificCharacterSet", "Modality", "PhotometricInterpretation", "ImageType", "BurnedInAnnotation"}


def text_tags() -> Iterator[tuple[str, str]]:
    """Keyword and planted value of every text tag of an image, retired ones included."""
    for tag, (representation, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 > 4 and keyword and keyword not in DECIDING and representation in PLANTED:
            yield keyword, PLANTED[representation]


def plant(dataset: Dataset, index: int) -> None:
    """Fill every text tag with something to find again, at the top, in a sequence and in private tags."""
    item = Dataset()
    for keyword, value in text_tags():
        setattr(dataset, keyword, value)
        setattr(item, keyword, value)
    dataset.RequestAttributesSequence = Sequence([item])
    dataset.add_new((0x0009, 0x0010), "LO", "ZZSECRET CREATOR")
    dataset.add_new((0x0009, 0x1001), "LT", "ZZSECRET PRIVATE")


def plant_nifti(path: Path) -> None:
    image = nibabel.Nifti1Image(marked_voxels(), affines()["las"])
    image.header["descrip"], image.header["aux_file"] = b"ZZSECRET text", b"/home/zzsecret"
    image.header["db_name"], image.header["intent_name"] = b"ZZSECRETDB", b"ZZSECRET"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"ZZSECRET extension"))
    nibabel.save(image, path)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A tree with a good series, a truncated one, one with values that are not valid, a NIfTI file and other files."""
    source = tmp_path / "ZZSECRET_FOLDER"
    write_series(source / "ZZSECRET_SERIES", edit=plant, prefix="ZZSECRET_FILE")
    plant_nifti(source / "ZZSECRET_VOLUME.nii.gz")
    write_nifti(source / "ZZSECRET_4D.nii", marked_voxels()[..., None].repeat(2, 3), affines()["las"])
    (source / "ZZSECRET_notes.txt").write_text("ZZSECRET")
    broken = write_series(source / "broken", seed="broken", edit=plant, prefix="ZZSECRET_BROKEN")
    path = broken / "ZZSECRET_BROKEN002.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    for path in write_series(source / "odd", seed="odd", edit=plant).iterdir():
        for valid, not_valid in ((b"19121212", b"ZZSECRET"), (b"235957", b"ZZSECR"), (b"111Y", b"ZZSE")):
            path.write_bytes(path.read_bytes().replace(valid, not_valid))
    return source


def call(command: str, *arguments: object) -> int:
    return int(main([command, *map(str, arguments)]))


def content_of(path: Path) -> bytes:
    """All that a file says: packed content and texts inside pictures too."""
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        return content + gzip.decompress(content)
    if path.suffix == ".png":
        return content + repr(Image.open(path).info).encode()
    if path.suffix == ".html":
        packed = [base64.b64decode(picture) for picture in re.findall(rb"data:image/\w+;base64,([^\"]+)", content)]
        texts = [picture + repr(Image.open(io.BytesIO(picture)).info).encode() for picture in packed]
        return b"\n".join([content, *texts])
    return content


def test_plenty_is_planted() -> None:
    keywords = {keyword for keyword, _ in text_tags()}
    assert len(keywords) > 1500
    assert {*IDENTITY, "InstitutionName", "BodyPartExamined"} <= keywords


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of what the test itself writes and reads
def test_no_patient_data_in_any_output_but_that_of_patient_and_study_in_dicom_objects(
    planted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "build_scorer", lambda *_: BrightSpotScorer())
    capfd.readouterr()
    assert call("screen", "-i", planted, "-o", tmp_path / "out", "--allow-untrained", "--std-map") == 4
    assert call("info", "-i", planted, "--check") == 4
    assert call("info", "-i", planted, "--check", "--json") == 4
    captured = capfd.readouterr()
    assert "truncated" in captured.out
    assert not any(secret in captured.out + captured.err for secret in SECRETS)
    outputs = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any("zzsecret" in str(path.relative_to(tmp_path)).lower() for path in outputs)
    segmentations = [path for path in outputs if path.name == "lesions_seg.dcm"]
    assert len(segmentations) == 2
    assert len(outputs) > 30
    assert sum(path.name == "report.html" for path in outputs) == 3
    assert (tmp_path / "out" / "index.html").is_file()
    for path in set(outputs) - set(segmentations):
        assert not any(secret.encode() in content_of(path) for secret in SECRETS), path.name
    for path in segmentations:
        assert_only_patient_and_study(path)
        report = json.loads((path.parent / "report.json").read_text())
        assert all(keyword in report["privacy"] for keyword in IDENTITY)
        assert "in the source; DICOM objects leave it empty" in report["warnings"][-1]["message"]


def assert_only_patient_and_study(path: Path) -> None:
    seg = pydicom.dcmread(path)
    assert seg.PatientName == "ZZSECRET"
    for keyword in (*IDENTITY, "PositionReferenceIndicator"):
        delattr(seg, keyword)
    text = str(seg)
    assert not any(secret in text for secret in SECRETS)


def test_file_names_are_shown_only_where_asked_for(tmp_path: Path) -> None:
    source = write_series(tmp_path / "in" / "folder_name")
    screen(tmp_path / "in", tmp_path / "plain", BrightSpotScorer())
    screen(tmp_path / "in", tmp_path / "named", BrightSpotScorer(), ScreeningOptions(source_names=True))
    for path in (tmp_path / "plain").rglob("*.*"):
        assert b"folder_name" not in path.read_bytes(), path.name
    assert "folder_name/f000.dcm" in (tmp_path / "named" / "index.html").read_text()
    assert "folder_name/f000.dcm" in (tmp_path / "named" / "summary.json").read_text()
    assert "folder_name/f000.dcm" in (tmp_path / "named" / "summary.csv").read_text()
    assert source.exists()


def all_uids(folder: Path) -> set[str]:
    """Every UID of the instances in a folder but those that DICOM itself defines."""
    found = set()
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        found |= {str(element.value) for element in dataset.iterall() if element.VR == "UI"}
    return {uid for uid in found if not uid.startswith("1.2.840.10008.")}


def test_hashed_uids_are_all_that_outputs_hold_but_for_the_seg(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_series(tmp_path / "in" / "whole")
    write_series(tmp_path / "in" / "damaged", seed="other")
    first = min((tmp_path / "in" / "damaged").iterdir())
    first.write_bytes(first.read_bytes()[:-40])
    originals = all_uids(tmp_path / "in")
    options = ScreeningOptions(reading=ReadingOptions(hash_uids=True))
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), options)
    (report,) = (tmp_path / "out").rglob("report.json")
    facts = json.loads(report.read_text())
    (seg,) = (tmp_path / "out").rglob("*.dcm")
    source = pydicom.dcmread(min((tmp_path / "in" / "whole").iterdir()))
    assert facts["series_instance_uid"] == hash_uid(source.SeriesInstanceUID)
    assert "pseudonyms in the place of UIDs" in facts["privacy"]
    assert pydicom.dcmread(seg).ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert main(["info", "-i", str(tmp_path / "in"), "--check", "--hash-uids"]) == ExitCode.SOME_REFUSED
    said = "".join(capsys.readouterr())
    texts = [said, *(path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in TEXTS)]
    assert len(texts) > 6
    assert [uid for uid in originals if any(uid in text for text in texts)] == []
    assert any("2.25." in text for text in texts[1:])
