"""The clinic whole: DCMTK's client, the node as a process of its own, and two real Orthancs that get all it found."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from anomalib_zsad.demo.phantom_dicom import write_dicom_series
from anomalib_zsad.demo.phantoms import make_phantom
from anomalib_zsad.screening.options import OutputType
from tests.network.orthanc import Orthanc, running_orthanc
from tests.node.node_builders import storescu
from tests.volumes.volume_builders import affines, make_affine

RULES = f"""
rules:
  - name: everything
    match: {{minimum_slices: 3}}
    screen:
      allow_untrained: true
      model: BayesPFL
      arguments: {{backbone: demo, num_samples: 2}}
      class_name: brain
      threshold: 0.5
      output_types: [{", ".join(get_args(OutputType))}]
      map_type: float32
"""
PROGRAM = "import sys; from anomalib_zsad.cli import main; sys.exit(main(sys.argv[1:]))"
SINGLE = 4  # SEG, Parametric Map, structured report, PDF; captures are one a slice
GEOMETRIES = {
    "axial": affines()["lps"],
    "oblique": affines()["oblique"],
    "sagittal": affines()["sagittal"],
    "negated column cosine": make_affine(np.diag([-1.5, 1.25, -4.0])),
}


@dataclass
class NodeProcess:
    """A node that runs as a command.

    Attributes:
        folder: Its folder.
        port: Where it listens.
    """

    folder: Path
    port: int

    def rows(self, statement: str, *values: str) -> list[tuple]:
        connection = sqlite3.connect(self.folder / "queue.sqlite3", timeout=30)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def wait(self, studies: int, seconds: float = 400.0) -> None:
        """Until so many studies are done with and everything is sent."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            states = [state for (state,) in self.rows("SELECT state FROM studies")]
            unsent = self.rows("SELECT last_error FROM deliveries WHERE state NOT IN ('delivered', 'superseded')")
            if len(states) == studies and set(states) <= {"screened", "failed"} and not unsent:
                return
            time.sleep(0.3)
        pytest.fail(f"studies {states}, not sent: {unsent[:3]}")


@contextmanager
def node_process(folder: Path, targets: list[str], rules: str = RULES) -> Iterator[NodeProcess]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rules.yaml").write_text(rules)
    sends = [word for target in targets for word in ("--send-to", target)]
    words = ["node", "-o", folder / "node", "--rules", folder / "rules.yaml", "--port", "0", *sends]
    words += ["--quiet-seconds", "1", "--reserve-mib", "1"]
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        said = ""
        while "listens on" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would hold it up
        yield NodeProcess(folder / "node", int(re.search(r"listens on 127.0.0.1:(\d+)", said)[1]))
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stderr.close()


@contextmanager
def clinic(folder: Path) -> Iterator[tuple[NodeProcess, Orthanc, Orthanc]]:
    """A node that sends to one Orthanc by C-STORE and to another by STOW."""
    with (
        running_orthanc(folder / "by_store") as store,
        running_orthanc(folder / "by_stow") as stow,
        node_process(folder / "n", [store.entity, stow.web]) as node,
    ):
        yield node, store, stow


def write_head(folder: Path, affine: np.ndarray, seed: str) -> Path:
    """The drawn head CT with a bleed on another grid."""
    voxels = make_phantom("head_ct", 3, lesion=True).voxels[::2, ::2, ::2]
    return write_dicom_series(folder, np.ascontiguousarray(voxels), affine, seed=seed)


def retrieved(server: Orthanc, study: str) -> dict[str, list[Dataset]]:
    """Objects of a study by their modality, found by QIDO and fetched by WADO."""
    client = DICOMwebClient(server.web)
    found: dict[str, list[Dataset]] = {}
    for series in (Dataset.from_json(one) for one in client.search_for_series(study)):
        found[f"{series.Modality} {series.SeriesInstanceUID}"] = client.retrieve_series(study, series.SeriesInstanceUID)
    return found


def of_class(objects: dict[str, list[Dataset]], name: str) -> list[Dataset]:
    return [one for series in objects.values() for one in series if one.SOPClassUID.name == name]


def check_valid(objects: dict[str, list[Dataset]]) -> None:
    """dciodvfy finds no error in any object, and dsr2html renders the reports."""
    validator, renderer = shutil.which("dciodvfy"), shutil.which("dsr2html")
    if validator is None or renderer is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) and dsr2html (dcmtk) are not installed")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "one.dcm"
        for one in (one for series in objects.values() for one in series):
            one.save_as(path, enforce_file_format=True)
            done = subprocess.run([validator, path], capture_output=True, text=True, check=False)
            errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
            assert errors == [], (one.SOPClassUID.name, errors)
            if one.SOPClassUID.name == "Comprehensive 3D SR Storage":
                done = subprocess.run([renderer, path], capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                assert "For research use only: not a medical device" in done.stdout
                assert "Series as a whole" in done.stdout


def check_geometry(objects: dict[str, list[Dataset]], source: Path, maps: Path) -> None:
    """Every frame lies where ITK has the slice that it names as its source, and holds the map's values there.

    Args:
        objects: What the archive holds.
        source: The folder of the series.
        maps: The map as NIfTI, read by ITK too.
    """
    slices = {}
    for path in sorted(source.iterdir()):
        image = SimpleITK.ReadImage(str(path))
        slices[image.GetMetaData("0008|0018").strip("\0 ")] = image
    heat = SimpleITK.ReadImage(str(maps))
    (segmentation,), (parametric,) = (
        of_class(objects, "Segmentation Storage"),
        of_class(objects, "Parametric Map Storage"),
    )
    for made, values in (
        (parametric, np.frombuffer(parametric.FloatPixelData, np.float32)),
        (segmentation, segmentation.pixel_array.ravel()),
    ):
        frames = values.reshape(int(made.NumberOfFrames), made.Rows, made.Columns)
        assert len(frames) == len(slices)
        shared = made.SharedFunctionalGroupsSequence[0]
        cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
        named = set()
        for group, frame in zip(made.PerFrameFunctionalGroupsSequence, frames, strict=True):
            reference = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            named.add(str(reference))
            image = slices[str(reference)]
            place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            highest = tuple(map(int, np.unravel_index(frame.argmax(), frame.shape)))
            for row, column in ((0, 0), (0, made.Columns - 1), (made.Rows - 1, 0), highest):
                point = place + cosines[:3] * spacing[1] * column + cosines[3:] * spacing[0] * row
                np.testing.assert_allclose(point, image.TransformIndexToPhysicalPoint((column, row, 0)), atol=2e-2)
                index = heat.TransformPhysicalPointToIndex(point.tolist())
                value = heat.GetPixel(index)
                expected = value if made is parametric else float(value >= 0.5)
                assert float(frame[row, column]) == pytest.approx(expected, abs=1e-6)
        assert named == set(slices)


def check_study(server: Orthanc, *sources: Path, maps: Path | None = None, volumes: int = 1) -> None:
    """What an archive holds of a study is all there, about its source, and valid.

    Args:
        server: The archive.
        sources: Folders of the study's series.
        maps: The map of the only series as NIfTI.
        volumes: How many volumes its series are.
    """
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for source in sources for path in source.iterdir()]
    objects = retrieved(server, headers[0].StudyInstanceUID)
    kinds = [one.SOPClassUID.name for series in objects.values() for one in series]
    single = {
        "Segmentation Storage",
        "Parametric Map Storage",
        "Comprehensive 3D SR Storage",
        "Encapsulated PDF Storage",
    }
    assert {kind: kinds.count(kind) for kind in single} == dict.fromkeys(single, volumes)
    assert kinds.count("Secondary Capture Image Storage") == len(kinds) - SINGLE * volumes == len(headers)
    for one in (one for series in objects.values() for one in series):
        assert one.PatientID == headers[0].PatientID
        assert str(one.StudyDate or "") == str(headers[0].get("StudyDate") or "")
        assert "research use only" in one.SeriesDescription
    if maps is not None:
        check_geometry(objects, sources[0], maps)
    check_valid(objects)


def maps_of(node: NodeProcess, source: Path) -> Path:
    """The NIfTI map in the node's own results."""
    uid = pydicom.dcmread(next(source.iterdir()), stop_before_pixels=True).SeriesInstanceUID
    found = node.rows(
        "SELECT DISTINCT file FROM deliveries WHERE series = ? AND file LIKE '%/anomaly_map.dcm'", str(uid)
    )
    ((file,),) = found
    return (node.folder / "results" / file).with_name("anomaly_map.nii.gz")


def test_a_drawn_head_of_any_orientation_comes_back_in_every_form_by_c_store_and_by_stow(tmp_path: Path) -> None:
    sources = {
        name: write_head(tmp_path / "in" / name.replace(" ", "_"), affine, name) for name, affine in GEOMETRIES.items()
    }
    with clinic(tmp_path) as (node, store, stow):
        for source in sources.values():
            assert storescu(node.port, "+sd", source).returncode == 0
        node.wait(len(sources))
        for source in sources.values():
            check_study(store, source, maps=maps_of(node, source))
        assert store.instances() == stow.instances()
        check_study(stow, sources["oblique"], maps=maps_of(node, sources["oblique"]))


@pytest.mark.slow
def test_real_series_come_back_in_every_form_and_what_cannot_be_taken_is_refused(
    tmp_path: Path, shared_data: Path
) -> None:
    whole = {
        "schwannoma": shared_data / "schwannoma_dicom",
        "prostate": shared_data / "prostate_dicom" / "t2_axial",
        "three b-values": shared_data / "prostate_dicom" / "diffusion_three_b_values",
        "a slice missing": shared_data / "prostate_dicom" / "diffusion_missing_slice",
        "ct": shared_data / "dicom_seg" / "ct-3slice",
    }
    enhanced = tmp_path / "enhanced"
    enhanced.mkdir()
    shutil.copy(shared_data / "odd_dicom" / "emri_small.dcm", enhanced)
    with clinic(tmp_path) as (node, store, stow):
        for folder in [*whole.values(), enhanced, shared_data / "prostate_dicom" / "localizer_three_planes"]:
            assert storescu(node.port, "+sd", folder).returncode == 0
        compressed = sorted((shared_data / "ct_j2k_without_uids").iterdir())
        assert storescu(node.port, "-xs", *compressed).returncode != 0  # no UIDs: refused
        node.wait(len(node.rows("SELECT DISTINCT study FROM instances")))
        assert store.instances() == stow.instances()
        for source in (whole["schwannoma"], whole["prostate"], whole["ct"]):
            check_study(store, source, maps=maps_of(node, source))
        # One study: its three b-values are three volumes, and a slice is missing in the other series.
        check_study(store, whole["three b-values"], whole["a slice missing"], volumes=4)
        check_study(stow, whole["schwannoma"], maps=maps_of(node, whole["schwannoma"]))
        states = dict(node.rows("SELECT state, reason FROM series WHERE slices = 0"))
        assert "no position, orientation or pixel spacing" in states["failed"]
        assert "a localizer or a mix of planes" in states["not screened"]
