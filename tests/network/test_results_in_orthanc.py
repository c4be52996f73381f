"""Every DICOM result of a screening goes into a real Orthanc, by C-STORE and by STOW, and comes back as it was."""

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from anomalib_zsad.network.targets import parse_target
from anomalib_zsad.screening.options import OutputType
from tests.network.orthanc import Orthanc
from tests.screening.test_outputs import run
from tests.volumes.volume_builders import affines, make_affine, write_series

OBJECTS = tuple(kind for kind in get_args(OutputType) if kind != "nifti")
SERIES = {
    "SEG": "Anomaly, uncalibrated (6 images) - research use only",
    "DOC": "Anomaly key slices (6 images) - research use only",
    "SR": "Anomaly report (6 images) - research use only",
}
CASES = {
    "oblique": affines()["oblique"],
    "sagittal": affines()["sagittal"],
    "negated column cosine": make_affine(np.diag([-1.5, 1.25, -4.0])),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a series."""
    folder = tmp_path_factory.mktemp("results")
    return run(write_series(folder / "s"), folder / "out", output_types=OBJECTS)


def same(first: Dataset, second: Dataset) -> bool:
    """Whether two objects say the same, apart from how they are encoded."""
    own, other = (
        {element.tag: element.value for element in one.iterall() if element.VR != "SQ"} for one in (first, second)
    )
    return own.keys() == other.keys() and all(np.array_equal(own[tag], other[tag]) for tag in own)


@pytest.mark.parametrize("way", ["C-STORE", "STOW"])
def test_results_come_back_as_they_were_sent(results: Path, orthanc: Orthanc, way: str) -> None:
    files = sorted(results.rglob("*.dcm"))
    target = parse_target(orthanc.entity if way == "C-STORE" else orthanc.web)
    target.send(files)
    sent = {path: pydicom.dcmread(path) for path in files}
    assert orthanc.instances() == {str(one.SOPInstanceUID) for one in sent.values()}
    target.send(files)  # a repeated send makes no doubles
    assert len(orthanc.instances()) == len(files)
    client = DICOMwebClient(orthanc.web)
    study = str(next(iter(sent.values())).StudyInstanceUID)
    found = [Dataset.from_json(one) for one in client.search_for_series(study, fields=["SeriesDescription"])]
    assert {one.Modality: one.SeriesDescription for one in found}.items() >= SERIES.items()
    assert len(found) == 5
    for one in sent.values():
        back = client.retrieve_instance(study, one.SeriesInstanceUID, one.SOPInstanceUID)
        assert same(one, back), one.SOPClassUID.name


@pytest.mark.parametrize("name", sorted(CASES))
def test_orthanc_takes_results_of_any_orientation(tmp_path: Path, orthanc: Orthanc, name: str) -> None:
    folder = run(write_series(tmp_path / "s", affine=CASES[name]), tmp_path / "out", output_types=OBJECTS)
    files = sorted(folder.rglob("*.dcm"))
    parse_target(orthanc.entity).send(files)
    assert len(orthanc.instances()) == len(files)


def test_dcmtk_takes_the_results(results: Path, orthanc: Orthanc) -> None:
    program = shutil.which("storescu", path="/usr/bin")  # pynetdicom has one of the same name
    if program is None:
        pytest.skip("storescu (Debian's dcmtk) is not installed")
    command = [
        program,
        "-aec",
        "ORTHANC",
        "-R",
        "127.0.0.1",
        str(orthanc.dicom_port),
        *map(str, results.rglob("*.dcm")),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert len(orthanc.instances()) == len(list(results.rglob("*.dcm")))
