"""Parts of an inspection, and the whole that is made of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.cli import main
from anomalib_zsad.inspection.inspect_images import Inspection, inspect_images
from anomalib_zsad.inspection.merge_parts import merge_parts
from anomalib_zsad.inspection.options import ImageReading, InspectionOptions
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from tests.inspection.bright_image import BrightImageScorer
from tests.inspection.test_inspect_images import write_calibration, write_images

OUTPUTS = ("images.csv", "report.json", "report.html")
BARE = InspectionOptions(pictures=8)


@pytest.fixture
def calibrated(tmp_path: Path) -> InspectionOptions:
    write_calibration(tmp_path / "calibration.json")  # files round scores
    rule = DecisionRule("images", Calibration.load(tmp_path / "calibration.json"))
    return InspectionOptions(rule, pictures=8, drift_order="time", reading=ImageReading(exclude=("*_x.png",)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty images, one of them torn, and files of other kinds."""
    folder = write_images(tmp_path / "in", 12)
    for number in range(28):
        (folder / f"more{number:02d}.png").write_bytes((folder / "line1" / "part01.png").read_bytes())
    (folder / "torn.png").write_bytes(b"no picture")
    (folder / "left_x.png").write_bytes(b"not asked for")
    (folder / "notes.txt").write_text("notes")
    return folder


def do(source: Path, output: Path, options: InspectionOptions, part: int, count: int = 3) -> Inspection:
    return inspect_images(source, output, BrightImageScorer(), replace(options, num_parts=count, part_id=part))


@pytest.mark.parametrize("judged", [False, True])
def test_the_whole_of_the_parts_is_what_one_run_makes(
    source: Path, tmp_path: Path, calibrated: InspectionOptions, judged: bool
) -> None:
    options = calibrated if judged else BARE
    whole = inspect_images(source, tmp_path / "whole", BrightImageScorer(), options)
    parts = [tmp_path / f"part-{number}" for number in range(3)]
    done = [do(source, parts[number], options, number) for number in (2, 0, 1)]
    names = [record.image for inspection in done for record in inspection.records]
    assert sorted(names) == sorted(record.image for record in whole.records)
    assert all(len(inspection.records) > 3 for inspection in done)
    before = [{path.name: path.read_bytes() for path in part.iterdir()} for part in parts]
    merged, _ = merge_parts([parts[1], parts[2], parts[0]], tmp_path / "merged")
    assert merged.records == whole.records
    assert merged.drift == whole.drift
    for name in OUTPUTS:
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert [{path.name: path.read_bytes() for path in part.iterdir()} for part in parts] == before


def test_a_part_goes_on_and_is_no_other_part(source: Path, tmp_path: Path) -> None:
    broken = BrightImageScorer(fail_after=1, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        inspect_images(source, tmp_path / "out", broken, replace(BARE, num_parts=2, part_id=1, batch_size=4))
    with pytest.raises(ValueError, match="holds no finished part"):
        merge_parts([tmp_path / "out"], tmp_path / "merged")
    with pytest.raises(OutputInUseError, match=r"other settings \(part\)"):
        do(source, tmp_path / "out", replace(BARE, resume=True), 0, 2)
    done = do(source, tmp_path / "out", replace(BARE, resume=True), 1, 2)
    assert len(done.records) > 4
    scorer = BrightImageScorer()
    inspect_images(source, tmp_path / "out", scorer, replace(BARE, resume=True, num_parts=2, part_id=1))
    assert not scorer.batches


def test_what_does_not_fit_together_is_told(source: Path, tmp_path: Path, calibrated: InspectionOptions) -> None:
    parts = [tmp_path / f"part-{number}" for number in range(2)]
    for number, part in enumerate(parts):
        do(source, part, calibrated, number, 2)
    with pytest.raises(ValueError, match="of 2 parts 1 are missing: 1; give their folders as well"):
        merge_parts(parts[:1], tmp_path / "merged")
    with pytest.raises(ValueError, match="is a part given twice"):
        merge_parts([parts[0], parts[0]], tmp_path / "merged")
    do(source, tmp_path / "third", calibrated, 2, 3)
    with pytest.raises(ValueError, match="is part 2 of 3, and another folder is one of 2"):
        merge_parts([parts[0], tmp_path / "third"], tmp_path / "merged")
    do(source, tmp_path / "bare", BARE, 1, 2)
    with pytest.raises(OutputInUseError, match=r"different settings \(decisions"):
        merge_parts([parts[0], tmp_path / "bare"], tmp_path / "merged")
    shutil.copy(source / "torn.png", source / "new.png")
    do(source, parts[1], replace(calibrated, resume=True), 1, 2)
    with pytest.raises(ValueError, match="has seen other images"):
        merge_parts(parts, tmp_path / "merged")
    do(source, parts[0], replace(calibrated, resume=True), 0, 2)
    (parts[0] / ".inspection-calibration.json").unlink()
    with pytest.raises(ValueError, match="lacks the calibration that was in use"):
        merge_parts(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_part_without_images_is_a_part(tmp_path: Path) -> None:
    source = write_images(tmp_path / "in", 1)
    options = replace(BARE, pages=False)
    parts = [tmp_path / f"part-{number}" for number in range(4)]
    counts = [len(do(source, part, options, number, 4).records) for number, part in enumerate(parts)]
    assert sorted(counts) == [0, 0, 0, 1]
    merged, _ = merge_parts(parts, tmp_path / "merged")
    assert [record.image for record in merged.records] == ["line0/part00.jpg"]
    again = inspect_images(source, tmp_path / "merged", BrightImageScorer(), replace(options, resume=True))
    assert again.found_done  # a run like any other


def test_parts_by_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_images(tmp_path / "in", 5)
    words = ["--allow-untrained", "--model.backbone", "demo", "--model.num_samples", "2", "--num-parts", "2"]
    for number in range(2):
        output = str(tmp_path / f"part-{number}")
        given = ["inspect", "-i", str(source), "-o", output, *words, "--part-id", str(number)]
        assert main(given) == ExitCode.DONE
    folders = [str(tmp_path / "part-0"), str(tmp_path / "part-1")]
    capsys.readouterr()
    assert main(["merge", *folders]) == ExitCode.USAGE
    assert "parts of inspect need an --output folder" in capsys.readouterr().err
    assert main(["merge", *folders, "-o", str(tmp_path / "out")]) == ExitCode.DONE
    assert "5 images, 0 unreadable" in capsys.readouterr().out
    assert main(["inspect", "-i", str(source), "-o", str(tmp_path / "x"), *words, "--part-id", "2"]) == ExitCode.USAGE
    assert "there is no 2" in capsys.readouterr().err
