"""The commands `calibrate` and `screen --calibration` as a user calls them, on phantoms and the demo backbone."""

import csv
import json
import re
from pathlib import Path

import pytest

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.cli import main
from anomalib_zsad.demo.phantoms import make_phantom, write_nifti
from anomalib_zsad.scoring import build
from tests.calibration.calibrations import of_images, of_volumes
from tests.screening.bright_spot import BrightSpotScorer
from tests.screening.test_calibrate_volumes import write_normals

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
MODEL = ("--allow-untrained", "--model.backbone", "demo", "--device", "cpu")


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build_scorer", lambda *_: BrightSpotScorer())


def test_from_normal_phantoms_to_calibrated_screening(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(100, 121):
        phantom = make_phantom("head_ct", seed, lesion=False)
        name = f"{phantom.name}.nii.gz"
        folder = tmp_path / ("new" if seed == 120 else "normals")
        write_nifti(folder / name, phantom.voxels[::2, ::2, 5:8], phantom.affine)
    model = (*MODEL, "--model.num_samples", "2", "--class-name", "brain", "--modality", "CT", "--window", "brain")
    assert call("calibrate", "-i", tmp_path / "normals", "-o", tmp_path / "c.json", *model) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "needs 99 patients" in told
    assert "A false-alarm rate of 1 % needs 99, 5 % needs 19, 10 % needs 9 patients" in told
    assert "at most 5 % are expected to show any lesion pixel" in told
    made = Calibration.load(tmp_path / "c.json")
    assert (made.units, len(made.cases)) == (20, 20)

    rate = ("--calibration", tmp_path / "c.json", "--false-alarm-rate", "0.1")
    assert call("screen", "-i", tmp_path / "new", "-o", tmp_path / "out", *model, *rate, "--std-map") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Scores are calibrated on normal patients. Of normal patients like the 20" in told
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    report = json.loads((folder / "report.json").read_text())
    (series,) = json.loads((tmp_path / "out" / "summary.json").read_text())["series"]
    assert report["calibrated"]
    assert report["calibration"]["false_alarm_rate"] == 0.1
    assert report["calibration"]["sha256"] == made.sha256
    expected = float(made.p_values("volume", report["result"]["volume_score"]))
    assert report["result"]["volume_p_value"] == expected == series["volume_p_value"]
    assert (folder / "anomaly_map_std.nii.gz").is_file()
    with (folder / "slices.csv").open() as stream:
        for row in csv.DictReader(stream):
            assert float(row["p_value"]) == pytest.approx(float(made.p_values("slice", float(row["score"]))), abs=0.02)
            assert (row["flagged"] == "true") == (float(row["p_value"]) <= 0.1)
            assert row["decision"] in {"normal", "abnormal", "uncertain"}

    other = ("screen", "-i", tmp_path / "new", "-o", tmp_path / "other", *model)
    assert call(*other, *rate, "--model.num_samples", "3") == 2
    error = capsys.readouterr().err
    assert "model.constants.num_samples was 2 and is 3 now" in error
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("fake_model")
def test_without_a_calibration_everything_works_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_normals(tmp_path / "in", 2)
    call("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--allow-untrained", "--window", "900/450")
    assert "Scores are uncalibrated" in " ".join(capsys.readouterr().out.split())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["settings"]["decisions"]["calibration"] is None
    assert summary["series"][0]["volume_p_value"] is None
    assert summary["series"][0]["flagged_slices"] is summary["series"][0]["uncertain_slices"] is None
    for path in (tmp_path / "out").glob("*/report.json"):
        report = json.loads(path.read_text())
        assert not report["calibrated"]
        assert report["calibration"] is None
        assert "uncalibrated" in report["statement"]
        assert report["decided_by"] == "nothing"
        page = (path.parent / "report.html").read_text().partition("<main")[0] + (
            tmp_path / "out" / "index.html"
        ).read_text()
        assert "nothing is decided" in page
        assert "lagged" not in re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)


@pytest.mark.usefixtures("fake_model")
def test_benjamini_hochberg_and_uncertainty_are_options(tmp_path: Path) -> None:
    write_normals(tmp_path / "in", 21)
    (tmp_path / "new").mkdir()
    (tmp_path / "in" / "sub-20_scan.nii.gz").rename(tmp_path / "new" / "v.nii.gz")
    model = ("--allow-untrained", "--window", "900/450")
    assert call("calibrate", "-i", tmp_path / "in", "-o", tmp_path / "c.json", *model) == 0
    options = ("--calibration", tmp_path / "c.json", "--benjamini-hochberg", "--uncertainty", "0", "--no-pages")
    assert call("screen", "-i", tmp_path / "new", "-o", tmp_path / "out", *model, *options) == 0
    (path,) = (tmp_path / "out").glob("*/report.json")
    report = json.loads(path.read_text())
    assert report["calibration"]["benjamini_hochberg"]
    assert report["uncertainty"] == 0
    assert report["result"]["uncertain_slices"] == 0
    assert report["calibration"]["thresholds"]["slice"] is None  # 20 normals cannot flag one slice of four


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--false-alarm-rate", "0.1"), "--false-alarm-rate needs a --calibration"),
        (("--benjamini-hochberg",), "Benjamini-Hochberg needs p-values"),
        (("--calibration", "none.json"), "there is no calibration at none.json"),
        (("--calibration", "volumes.json", "--threshold", "0.7"), "--threshold and --calibration exclude each other"),
        (("--calibration", "volumes.json", "--false-alarm-rate", "0.01"), "needs at least 99 normal units"),
        (("--calibration", "volumes.json", "--false-alarm-rate", "2"), "lies between 0 and 1, not 2"),
        (("--calibration", "volumes.json"), "the calibration does not fit"),
        (("--calibration", "images.json"), "the calibration is one of images; volumes need one"),
        (("--calibration", "damaged.json"), "cannot be read as JSON"),
        (("--uncertainty", "-1"), "a number of standard deviations, at least 0"),
    ],
)
def test_screen_refuses_what_makes_no_sense(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    of_volumes().save("volumes.json")
    of_images().save("images.json")
    Path("damaged.json").write_text('{"program"')
    write_normals(Path("in"), 1)
    assert call("screen", "-i", "in", "-o", "out", "--allow-untrained", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-i", "few"), "3 volumes of 3 normal patients cannot calibrate; at least 20 patients are needed"),
        (("-i", "few", "-o", "taken.json"), "taken.json exists already; give another name, or --overwrite"),
        (("-i", "few", "-o", "no/c.json"), "there is no folder no to write the calibration to"),
        (("-i", "few", "-o", "."), "exists already"),
        (("-i", "few", "-o", ".", "--overwrite"), "cannot be written; give the name of a file"),
        (("-i", "none"), "there is nothing at the input path: none"),
        (("-i", "empty"), "empty holds neither images nor volumes"),
        (("-i", "both"), "both holds both images (1) and files of volumes (1); give a folder of one kind, or say"),
        (("-i", "few", "--patient", "x"), "has no group in parentheses"),
        (("-i", "few", "--window", "head"), "unknown window 'head'"),
        (("-i", "few", "--only", "scanner=A"), "--only takes modality=..., window=... or plane=..., not 'scanner=A'"),
        (("-i", "VolumeDataModule:few?window=brain"), "say window with --window and not in the input"),
        (("-i", "VolumeDataModule:few?colour=red"), "VolumeDataModule has no argument colour; it has root"),
        (("-i", "Nonsense:few"), "'Nonsense' is no data set of anomalib"),
        (("-i", "few/one.nii.gz", "--kind", "images"), "is no folder; give a folder of normal images"),
    ],
)
def test_calibrate_refuses_what_makes_no_sense(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_normals(Path("few"), 3)
    (Path("few") / "sub-00_scan.nii.gz").rename(Path("few") / "one.nii.gz")
    write_normals(Path("both"), 1)
    (Path("both") / "x.png").write_bytes(b"")
    Path("empty").mkdir()
    Path("taken.json").write_text("mine")
    output = () if "-o" in arguments else ("-o", "c.json")
    assert call("calibrate", *output, "--allow-untrained", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert Path("taken.json").read_text() == "mine"
    assert not Path("c.json").exists()


def test_calibrate_wants_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_normals(tmp_path / "in", 1)
    assert call("calibrate", "-i", tmp_path / "in", "-o", tmp_path / "c.json") == 2
    assert "no --checkpoint was given" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_model")
def test_a_datamodule_of_volumes_is_calibrated_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_normals(tmp_path / "images", 20)
    target = f"VolumeDataModule:{tmp_path}?modality=CT"
    options = ("--allow-untrained", "--window", "900/450")
    assert call("calibrate", "-i", target, "-o", tmp_path / "c.json", *options) == 0
    assert Calibration.load(tmp_path / "c.json").population["modality"] == {"CT": 20}
    assert call("calibrate", "-i", target, "-o", tmp_path / "d.json", *options, "--patient", r"sub-(\d)") == 2
    assert "20 volumes of 2 normal patients cannot calibrate" in capsys.readouterr().err


def test_normal_images_of_a_category_are_calibrated_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"FolderTree:{SAMPLES / 'industrial'}"
    output = ("-o", tmp_path / "c.json")
    assert call("calibrate", "-i", target, "--category", "leather", *output, *MODEL, "--model.num_samples", "2") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "left out: abnormal (24)" in told
    made = Calibration.load(tmp_path / "c.json")
    assert (made.kind, made.units, made.fingerprint["model.class_name"]) == ("images", 30, "leather")


def test_one_patients_many_slices_are_refused(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    location = shared_data / "schwannoma_dicom"
    assert call("calibrate", "-i", location, "-o", tmp_path / "c.json", *MODEL) == 2
    error = capsys.readouterr().err
    assert "1 volume of 1 normal patient cannot calibrate; at least 20 patients are needed" in error
    assert "one patient with many slices calibrates nothing" in error
    assert not (tmp_path / "c.json").exists()
