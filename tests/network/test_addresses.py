"""Addresses, queries and options: what is taken, and what is refused in one line."""

from pathlib import Path

import pytest

from anomalib_zsad.network.addresses import ConnectionOptions, Entity, TlsFiles, parse_address, parse_listener
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.network.sources import parse_source
from anomalib_zsad.network.targets import FolderTarget, parse_target

VARIABLE = "READING_ROOM_TOKEN"


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("PACS@host:104", Entity("PACS", "host", 104)),
        ("MY PACS@10.0.0.1:11112", Entity("MY PACS", "10.0.0.1", 11112)),
        ("PACS@[::1]:104", Entity("PACS", "::1", 104)),
    ],
)
def test_a_dicom_application_has_a_title_and_an_address(text: str, entity: Entity) -> None:
    assert parse_address(text) == entity
    assert parse_target(text).name == text
    assert parse_source(text).name == text


@pytest.mark.parametrize("text", ["http://host/dicom-web", "https://host:8043/orthanc/dicom-web/"])
def test_a_dicomweb_server_is_named_by_its_url(text: str) -> None:
    assert parse_target(text).name == text.rstrip("/")
    assert parse_source(text).name == text.rstrip("/")


def test_a_folder_is_a_path_with_a_slash_or_one_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    assert parse_target("results") == FolderTarget(Path("results"))
    assert parse_target("./new") == FolderTarget(Path("new"))
    assert parse_target("./a@b:1") == FolderTarget(Path("a@b:1"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PACS", "'PACS' is no target; the forms are AETITLE@host:port"),
        ("", "'' is no target"),
        ("PACS@host", "'PACS@host' is no address of a DICOM application; the form is AETITLE@host:port"),
        ("PACS@host:0", "has the port 0; ports are 1 to 65535"),
        ("PACS@host:70000", "has the port 70000"),
        ("@host:104", "'' is no AE title"),
        ("SEVENTEENLETTERSX@host:104", "is no AE title: 1 to 16 ASCII characters"),
        ("A\\B@host:104", "is no AE title"),
        ("ftp://host/x", "'ftp://host/x' is no address of a DICOMweb server; the form is http"),
        ("http://", "is no address of a DICOMweb server"),
        ("http://host:x/dicom-web", "is no address of a DICOMweb server"),
        ("http://host/dicom-web?token=x", "has a '?' or '#'"),
    ],
)
def test_what_is_no_target_is_refused_with_the_forms(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_target(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="holds a user name or password") as refused:
        parse_target("https://reader:hunter2@host/dicom-web")
    assert "hunter2" not in str(refused.value)


def test_a_folder_is_no_source() -> None:
    with pytest.raises(ValueError, match=r"'\./x' is no source; the forms are AETITLE@host:port"):
        parse_source("./x")


@pytest.mark.parametrize("text", ["", "host", "host:0", "host:99999", "a@b:1", "host:port"])
def test_a_receiver_listens_at_a_host_and_port(text: str) -> None:
    assert parse_listener("127.0.0.1:11112") == ("127.0.0.1", 11112)
    assert parse_listener("[::1]:104") == ("::1", 104)
    with pytest.raises(ValueError, match="the form is host:port"):
        parse_listener(text)


def test_a_token_comes_from_the_environment_and_crosses_no_network_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ConnectionOptions(token_variable=VARIABLE)
    monkeypatch.delenv("READING_ROOM_TOKEN", raising=False)
    with pytest.raises(ValueError, match="READING_ROOM_TOKEN holds no token"):
        parse_target("https://host/dicom-web", options)
    monkeypatch.setenv("READING_ROOM_TOKEN", "hunter2")
    assert options.authorization("https://host/dicom-web") == "Bearer hunter2"
    assert options.authorization("http://127.0.0.1:8042/dicom-web") == "Bearer hunter2"
    assert ConnectionOptions().authorization("https://host/dicom-web") is None
    with pytest.raises(ValueError, match="sent over https only") as refused:
        parse_target("http://host/dicom-web", options)
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("READING_ROOM_TOKEN", "Basic cmVhZGVyOmh1bnRlcjI=")
    assert options.authorization("https://host") == "Basic cmVhZGVyOmh1bnRlcjI="
    monkeypatch.setenv("READING_ROOM_TOKEN", "two\nlines")
    with pytest.raises(ValueError, match="holds no token"):
        options.authorization("https://host")


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="above 0 seconds"):
        ConnectionOptions(answer_seconds=0)
    with pytest.raises(ValueError, match="is no AE title"):
        ConnectionOptions(calling_title=" ")
    with pytest.raises(ValueError, match="there is no certificate file"):
        TlsFiles(authority=tmp_path / "none.pem")
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ValueError, match="needs the certificate"):
        TlsFiles(key=tmp_path / "key.pem")
    with pytest.raises(ValueError, match=r"key\.pem: no PEM certificates"):
        TlsFiles(authority=tmp_path / "key.pem").context()


@pytest.mark.parametrize(
    ("criteria", "words"),
    [
        ({"study_date": "2026"}, "is no date"),
        ({"study_date": "20261301"}, "is no date"),
        ({"study_date": "2026010120260102"}, "is no date"),
        ({"study_date": "-"}, "is no date"),
        ({"study_date": "20260201-20260101"}, "is no date"),
        ({"modalities": ("ct",)}, "'ct' is no modality"),
        ({"study_uid": "1.2.x"}, "'1.2.x' is no UID"),
        ({"series_uid": "1." + "2" * 70}, "is no UID"),
        ({"patient_id": "A\\B"}, "backslash or a control character"),
        ({"limit": 0}, "at least 1, not 0"),
    ],
)
def test_criteria_that_make_no_sense(criteria: dict, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        SeriesQuery(**criteria)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("criteria", "taken"),
    [
        ({}, True),
        ({"patient_id": "A[1]"}, True),
        ({"patient_id": "A?1?"}, True),
        ({"patient_id": "B*"}, False),
        ({"study_date": "20260115"}, True),
        ({"study_date": "20260101-20260115"}, True),
        ({"study_date": "20260116-"}, False),
        ({"study_date": "-20260115"}, True),
        ({"study_date": "-20260114"}, False),
        ({"modalities": ("CT", "MR")}, True),
        ({"modalities": ("CT",)}, False),
        ({"description": "*flair*"}, True),
        ({"description": "flair"}, False),
        ({"study_uid": "1.2"}, True),
        ({"series_uid": "1.2"}, False),
    ],
)
def test_what_a_server_answers_is_checked(criteria: dict, taken: bool) -> None:
    series = FoundSeries("1.2", "1.2.3", "MR", 5, "A[1]", "20260115", "AX FLAIR fs")
    assert SeriesQuery(**criteria).takes(series) is taken
