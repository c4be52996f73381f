"""What lies in a watched folder under a picture's name and is none: it is answered as unreadable, and ends nothing."""

from pathlib import Path

import pytest
from PIL import EpsImagePlugin

from tests.data.broken_pictures import eps, png_whose_profile_is_cut_off
from tests.station.station_builders import pictures, save, work


def test_it_is_unreadable_and_the_next_one_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append(1))
    save(tmp_path / "in", "whole.png")
    (tmp_path / "in" / "odd.png").write_bytes(png_whose_profile_is_cut_off())
    (tmp_path / "in" / "program.png").write_bytes(eps())
    assert work(tmp_path / "in", tmp_path / "out", 3) == {"answered": 3, "flagged": 0, "unreadable": 2}
    reasons = {line["image"]: line["reason"] for line in pictures(tmp_path / "out")}
    assert reasons["whole.png"] == ""
    assert "cannot be read as an image (IndexError" in reasons["odd.png"]
    assert "of no known format" in reasons["program.png"]
    assert not started
