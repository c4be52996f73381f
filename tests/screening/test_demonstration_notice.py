"""What was made with the embedded backbone says so where nobody can miss it; what was not, does not."""

from pathlib import Path
from typing import Any

import pytest

from anomalib_zsad.calibration.decision_rule import decision_in_words
from anomalib_zsad.cli import main
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.scoring import build
from anomalib_zsad.scoring.demonstration import NOTICE
from anomalib_zsad.screening.screen import screen
from tests.data.conftest import write_image
from tests.inspection.bright_image import BrightImageScorer
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import write_series


class DemoSpot(BrightSpotScorer):
    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = backbone

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "backbone": self.backbone}


@pytest.mark.parametrize(("backbone", "says"), [("demo", True), ("ViT-L-14-336", False)])
def test_pages_of_volumes(tmp_path: Path, backbone: str, says: bool) -> None:
    screen(write_series(tmp_path / "s"), tmp_path / "out", DemoSpot(backbone))
    for page in [tmp_path / "out" / "index.html", *(tmp_path / "out").glob("*/report.html")]:
        text = page.read_text()
        assert (NOTICE in text) is says
        assert ('class="banner"' in text) is says
        assert "above threshold" in text or page.name == "index.html"


def test_the_gallery(tmp_path: Path) -> None:
    class Demo(BrightImageScorer):
        def describe(self) -> dict[str, Any]:
            return {**super().describe(), "backbone": "demo"}

    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png")
    inspect_images(tmp_path / "in", tmp_path / "out", Demo(), InspectionOptions(progress=False))
    assert NOTICE in (tmp_path / "out" / "report.html").read_text()


def test_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(build, "build_scorer", lambda *_: DemoSpot("demo"))
    arguments = ["screen", "-i", str(write_series(tmp_path / "s")), "-o", str(tmp_path / "out"), "--allow-untrained"]
    assert main(arguments) == 0
    assert NOTICE in " ".join(capsys.readouterr().err.split())


def test_decisions_in_words() -> None:
    assert decision_in_words("abnormal") == "above threshold"
    assert decision_in_words("normal") == "below threshold"
    assert decision_in_words("uncertain") == "uncertain"
