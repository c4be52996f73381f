"""What a terminal of 80 columns shows: nothing is cut off, and what was asked for wrongly is told where to go."""

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from torchvision.datasets.folder import IMG_EXTENSIONS

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.cli import inspect, main, screening_options
from anomalib_zsad.cli.image_options import count_pictures
from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.evaluation.result_tables import Cell, Row, rich_tables
from anomalib_zsad.metrics import METRICS
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.records.run_summary import DONE, REFUSED, WARNED, RunEntry
from tests.evaluation.volumes.volume_samples import flat_calibration

LONG = "line3/a_rather_long_folder_of_a_camera/" + "picture_with_a_name_that_goes_on_" * 2 + "0001.png"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO())
    monkeypatch.setattr(screening_options, "console", lambda: console)
    return console


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("calibrated", [True, False])
def test_names_of_series_are_whole_and_reasons_below(narrow: Console, calibrated: bool) -> None:
    reason = "the pixel data are shorter than the header says, by 40 bytes; copy the series again from its source"
    entries = [
        RunEntry(
            "series-0123456789", WARNED, "study", "window-guessed", "CT", 120, 11, 12, 0.456, 0.1, 0.9, "abnormal"
        ),
        RunEntry("series-9876543210-t1-e2", DONE, "study", "", "MR", 120, 11, 12, 0.456, 0.1, 0.9, "normal"),
        RunEntry("series-abcdefabcd", REFUSED, "study", reason),
    ]
    rule = DecisionRule("volumes", flat_calibration(), 0.05) if calibrated else DecisionRule("volumes")
    screening_options.print_summary(Path("out"), entries, ExitCode.SOME_REFUSED, rule)
    text = printed(narrow)
    table = text[: text.index("series-0123456789: done with warnings: window-guessed")]
    for entry in entries:
        assert entry.series in table
    assert f"series-abcdefabcd: refused: {reason}" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert max(map(len, table.splitlines())) <= 80
    assert ("flagged" in table) == ("unsure" in table) == calibrated
    assert ("above" in text) == calibrated


def test_long_names_of_images_are_whole() -> None:
    console = Console(width=80, file=io.StringIO())
    records = [ImageRecord(LONG, 10, 10, 0.9, 0.1, 0.01, True, "abnormal"), ImageRecord("b.png", 10, 10, 0.5)]
    console.print(inspect._highest(records, calibrated=True))
    lines = printed(console).splitlines()
    start = next(line for line in lines if "image" in line).index("image")
    assert LONG in "".join(line[start:].strip() for line in lines[3:])
    assert "above threshold" in printed(console)
    assert max(map(len, lines)) <= 80


def test_all_figures_of_a_table_are_whole() -> None:
    console = Console(width=80, file=io.StringIO())
    cells = dict.fromkeys(METRICS, Cell(0.921, 0.034))
    for table in rich_tables([Row("set", "circuit_board_back", "deployable", cells, 1234, 3)], console.width):
        console.print(table)
    text = printed(console)
    assert text.count("92.1") == text.count("±3.4") == len(METRICS)
    assert "circuit_board_back" in text


@pytest.mark.parametrize("command", ["screen", "info"])
def test_a_folder_of_pictures_leads_to_inspect(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b/c.JPG", "b/notes.txt", ".hidden"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    Image.new("L", (8, 8)).save(tmp_path / "in" / "a.png")
    output = ["-o", str(tmp_path / "out"), "--allow-untrained"] if command == "screen" else []
    assert main([command, "-i", str(tmp_path / "in"), *output]) == ExitCode.NOTHING_FOUND
    told = capsys.readouterr()
    assert "there are 2 pictures, which are no volume: `anomalib-zsad inspect -i" in told.out + told.err
    assert "loading model" not in told.err  # it is not loaded in vain
    assert not (tmp_path / "out").exists()


def test_what_may_be_a_volume_is_looked_at(tmp_path: Path) -> None:
    assert set(IMAGE_ENDINGS) == set(IMG_EXTENSIONS)
    for name in ("a.png", "IM0001"):
        (tmp_path / name).write_bytes(b"")
    assert count_pictures(tmp_path).count == 1
    assert not count_pictures(tmp_path).alone
