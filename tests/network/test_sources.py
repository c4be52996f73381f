"""Finding and fetching at a real server: by QIDO and WADO, by C-FIND with C-GET and C-MOVE."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from anomalib_zsad.network.addresses import ConnectionOptions
from anomalib_zsad.network.errors import RetrievalError
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.network.sources import Source, parse_source
from anomalib_zsad.network.targets import parse_target
from tests.network.faulty_servers import CT, FIND, GET, MOVE, PATIENT, QUICK, answers, dicom_server, web_server
from tests.network.orthanc import Orthanc, free_port, running_orthanc
from tests.volumes.volume_builders import write_series

BUDGET = 1 << 30
WAYS = ["web", "get", "move"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, dict[str, Path]]]:
    """A server with three series of two patients, and their files."""
    folder = tmp_path_factory.mktemp("filled")
    described = {
        "a": ("ID 1/+", "20260110", "CT", "Head NATIVE"),
        "b": ("ID-2", "20260120", "MR", "AX flair [fs]"),
        "c": ("ID-2", "20260131", "CT", ""),
    }

    def edit(name: str) -> Callable[[Dataset, int], None]:
        def change(dataset: Dataset, _: int) -> None:
            dataset.PatientID, dataset.StudyDate, dataset.Modality, dataset.SeriesDescription = described[name]

        return change

    series = {name: write_series(folder / name, seed=name, edit=edit(name)) for name in described}
    with running_orthanc(folder / "orthanc") as server:
        for path in series.values():
            parse_target(server.entity).send(sorted(path.iterdir()))
        yield server, series


def source_of(server: Orthanc, way: str, options: ConnectionOptions = PATIENT) -> Source:
    if way == "web":
        return parse_source(server.web, options)
    return parse_source(server.entity, options, retrieve_by=way, receive_at=f"127.0.0.1:{server.receiver_port}")


def uid_of(folder: Path, keyword: str = "SeriesInstanceUID") -> str:
    return str(dcmread(next(folder.iterdir()))[keyword].value)


@pytest.mark.parametrize("way", ["web", "get"])
@pytest.mark.parametrize(
    ("criteria", "names"),
    [
        ({}, "abc"),
        ({"patient_id": "ID-2"}, "bc"),
        ({"patient_id": "id-2"}, ""),
        ({"patient_id": "ID 1/+"}, "a"),
        ({"patient_id": "ID*"}, "abc"),
        ({"patient_id": "ID-?"}, "bc"),
        ({"study_date": "20260110"}, "a"),
        ({"study_date": "20260115-20260131"}, "bc"),
        ({"study_date": "20260121-"}, "c"),
        ({"study_date": "-20260120"}, "ab"),
        ({"modalities": ("MR",)}, "b"),
        ({"modalities": ("MR", "CT")}, "abc"),
        ({"modalities": ("US",)}, ""),
        ({"description": "head native"}, "a"),
        ({"description": "*[FS]"}, "b"),
        ({"description": "head"}, ""),
        ({"patient_id": "ID-2", "modalities": ("CT",)}, "c"),
    ],
)
def test_each_criterion(filled: tuple[Orthanc, dict], way: str, criteria: dict, names: str) -> None:
    server, series = filled
    found = source_of(server, way).query(SeriesQuery(**criteria))
    assert {one.series_uid for one in found} == {uid_of(series[name]) for name in names}


@pytest.mark.parametrize("way", ["web", "get"])
def test_uids_limits_and_what_is_told(filled: tuple[Orthanc, dict], way: str) -> None:
    server, series = filled
    source = source_of(server, way)
    study, wanted = uid_of(series["b"], "StudyInstanceUID"), uid_of(series["b"])
    (alone,) = source.query(SeriesQuery(series_uid=wanted))
    assert alone == FoundSeries(study, wanted, "MR", 6, "ID-2", "20260120", "AX flair [fs]")
    assert source.query(SeriesQuery(study_uid=study)) == [alone]
    assert source.query(SeriesQuery(study_uid=study, series_uid=uid_of(series["a"]))) == []
    assert source.query(SeriesQuery(series_uid="1.2.3.4")) == []
    assert len(source.query(SeriesQuery(limit=2))) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_series_comes_as_it_is_stored(filled: tuple[Orthanc, dict], tmp_path: Path, way: str) -> None:
    server, series = filled
    source = source_of(server, way)
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["b"])))
    assert source.retrieve(found, tmp_path, BUDGET) == 6
    got = {one.SOPInstanceUID: one for one in map(dcmread, tmp_path.iterdir())}
    for path in series["b"].iterdir():
        original = dcmread(path)
        np.testing.assert_array_equal(got[original.SOPInstanceUID].pixel_array, original.pixel_array)
        assert got[original.SOPInstanceUID] == original
    assert not any("ID" in path.name or "1.2" in path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("way", WAYS)
def test_compressed_images_stay_as_they_are(orthanc: Orthanc, shared_data: Path, tmp_path: Path, way: str) -> None:
    files = []
    for number, path in enumerate(sorted((shared_data / "ct_j2k_without_uids").iterdir())):
        dataset = dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
        files.append(tmp_path / f"{number}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    parse_target(orthanc.entity).send(files)
    (tmp_path / "out").mkdir()
    source = source_of(orthanc, way)
    (found,) = source.query(SeriesQuery(series_uid="1.2.3.4"))
    assert source.retrieve(found, tmp_path / "out", BUDGET) == len(files)
    got = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "out").iterdir())}
    assert {one.file_meta.TransferSyntaxUID for one in got.values()} == {JPEG2000Lossless}
    original = dcmread(files[0])
    assert got[original.SOPInstanceUID].PixelData == original.PixelData


@pytest.mark.parametrize("way", WAYS)
def test_a_series_over_the_budget_is_not_taken(filled: tuple[Orthanc, dict], tmp_path: Path, way: str) -> None:
    server, series = filled
    source = source_of(server, way)
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["a"])))
    size = max(path.stat().st_size for path in series["a"].iterdir())
    with pytest.raises(RetrievalError, match=r"larger than .* GiB; --max-series-gib allows more") as failed:
        source.retrieve(found, tmp_path, 3 * size)
    assert not failed.value.retry
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * size


@pytest.mark.parametrize("way", WAYS)
def test_a_series_that_is_gone(filled: tuple[Orthanc, dict], tmp_path: Path, way: str) -> None:
    with pytest.raises(RetrievalError):
        source_of(filled[0], way).retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_cannot_be_written_is_an_error_of_the_disk(
    filled: tuple[Orthanc, dict], tmp_path: Path, way: str
) -> None:
    server, series = filled
    source = source_of(server, way)
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["a"])))
    with pytest.raises(OSError, match="No such file"):
        source.retrieve(found, tmp_path / "none", BUDGET)


def test_an_ae_title_of_ours_that_is_not_known(filled: tuple[Orthanc, dict], tmp_path: Path) -> None:
    stranger = source_of(filled[0], "move", ConnectionOptions(calling_title="STRANGER", answer_seconds=3))
    with pytest.raises(RetrievalError, match="does it know our AE title STRANGER"):
        stranger.query(SeriesQuery(patient_id="ID-2"))
    address = f"127.0.0.1:{free_port()}"

    def nowhere(_):
        yield None, None

    with dicom_server(classes=[MOVE], EVT_C_MOVE=nowhere) as at:
        source = parse_source(at, QUICK, retrieve_by="move", receive_at=address)
        with pytest.raises(RetrievalError, match=f"does not know ANOMALIB; enter it there, at {address}") as failed:
            source.retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)
    assert not failed.value.retry


def test_a_receiver_that_cannot_listen(filled: tuple[Orthanc, dict], tmp_path: Path) -> None:
    server, series = filled
    source = parse_source(server.entity, QUICK, retrieve_by="move", receive_at=f"127.0.0.1:{server.http_port}")
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["a"])))
    with pytest.raises(RetrievalError, match=r"cannot listen at .*; --receive-at names another place"):
        source.retrieve(found, tmp_path, BUDGET)


def test_nobody_answers() -> None:
    port = free_port()
    for text in (f"PACS@127.0.0.1:{port}", f"http://127.0.0.1:{port}/dicom-web"):
        with pytest.raises(RetrievalError, match="no connection") as failed:
            parse_source(text, QUICK).query(SeriesQuery(patient_id="SECRET"))
        assert failed.value.retry
        assert "SECRET" not in str(failed.value)


@pytest.mark.parametrize("way", WAYS)
def test_logs_hold_no_patient_data(
    filled: tuple[Orthanc, dict], tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.DEBUG)
    source = source_of(filled[0], way)
    found = source.query(SeriesQuery(patient_id="ID-2", study_date="20260120"))
    source.retrieve(found[0], tmp_path, BUDGET)
    for place in ("http://127.0.0.1:1/dicom-web", "PACS@127.0.0.1:1"):
        with pytest.raises(RetrievalError):
            parse_source(place, QUICK).query(SeriesQuery(patient_id="ID-2", study_date="20260120"))
    assert not any(secret in caplog.text for secret in ("ID-2", "20260120", "PHANTOM", "flair"))


def test_nothing_is_warned_of_what_slightly_wrong_answers_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """pydicom quotes the values that it warns of: whoever asks would find a birth date on the screen."""
    values = {
        "0020000D": ("UI", "1.2.0777"), "0020000E": ("UI", "1.2.0888"), "00080060": ("CS", "CT"),
        "00100030": ("DA", "1970.13.01X"), "00101010": ("AS", "54 years"), "00080020": ("DA", "1970.13.01X"),
    }  # fmt: skip
    item = {tag: {"vr": kind, "Value": [value]} for tag, (kind, value) in values.items()}
    secrets = ("1970.13", "54 years", "0777", "0888")

    def found(_):
        answer = Dataset.from_json(item)
        answer.QueryRetrieveLevel = "STUDY"
        yield 0xFF00, answer

    def send(_):
        yield 1
        image = dcmread(write_series(tmp_path / "s") / "f000.dcm")
        image.SeriesInstanceUID, image.PatientBirthDate = "1.2.0888", "1970.13.01X"
        yield 0xFF00, image

    caplog.set_level(logging.DEBUG)
    classes = {"classes": [FIND, GET, CT], "EVT_C_FIND": found, "EVT_C_GET": send}
    (tmp_path / "out").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with web_server(answers(200, json.dumps([item]).encode())) as (url, _):
            assert parse_source(url, QUICK).query(SeriesQuery(modalities=("CT",)))
    assert not any(secret in str(one.message) for one in caught for secret in secrets)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with dicom_server(**classes) as at:
            source = parse_source(at, QUICK)
            (series,) = source.query(SeriesQuery(modalities=("CT",)))
            assert source.retrieve(series, tmp_path / "out", BUDGET) == 1
    assert not any(secret in str(one.message) for one in caught for secret in secrets)
    assert not any(secret in caplog.text for secret in secrets)
