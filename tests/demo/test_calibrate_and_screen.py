"""What the demonstration says of its phantoms follows from what screening wrote, and bad answers are called bad."""

from pathlib import Path

import pytest

from anomalib_zsad.demo.calibrate_and_screen import verdict


@pytest.mark.parametrize(
    ("ill", "twin", "said"),
    [
        ("0.04", "0.6", "The lesion is found (p = 0.04), its lesion-free twin is left alone (p = 0.60)."),
        (
            "0.3",
            "0.6",
            "The lesion is NOT found (p = 0.30), its lesion-free twin is left alone (p = 0.60). A bad answer",
        ),
        ("0.04", "0.04", "its lesion-free twin is flagged, a false alarm (p = 0.04). A bad answer"),
        ("", "0.6", "Of the two phantoms 1 could be judged"),
    ],
)
def test_the_verdict(tmp_path: Path, ill: str, twin: str, said: str) -> None:
    summary = tmp_path / "summary.csv"
    summary.write_text(f"series,volume_p_value,source\nbleed1,{ill},bleed/1.dcm\nb,{twin},normal/1.dcm\n")
    assert said in verdict(summary)
