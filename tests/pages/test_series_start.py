"""Which slice a page begins with, and what it tells of where pixels lie."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from anomalib_zsad.pages.series_page import first_to_show
from anomalib_zsad.records.slice_rows import SliceRow
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.windowing import Window
from tests.volumes.volume_builders import affines, only, write_series


def row(index: int, score: float, *, blank: bool = False) -> SliceRow:
    return SliceRow(index, "", None, *[None] * 3, score, None, score, *[None] * 6, 0, None, None, blank, None, None)


def data_of(page: Path) -> dict:
    (block,) = re.findall(r'id="data">(.*?)</script>', page.read_text())
    return json.loads(block)


def test_the_highest_score_among_slices_with_enough_of_the_body() -> None:
    rows = [row(0, 0.9), row(1, 0.5), row(2, 0.8), row(3, 0.7)]
    assert first_to_show(rows, np.array([10, 100, 33, 34])) is rows[3]
    assert first_to_show(rows, None) is rows[0]
    assert first_to_show([], None) is None


def test_blank_slices_come_last() -> None:
    rows = [row(0, 0.0, blank=True), row(1, 0.2), row(2, 0.1)]
    assert first_to_show(rows, np.array([100, 0, 0])) is rows[1]
    assert first_to_show(rows[:1], np.array([5])) is rows[0]


def test_a_page_begins_with_its_first_region(series_page: Path) -> None:
    start = data_of(series_page)["start"]
    assert (start["slice"], start["region"]) == (5, 1)
    assert start["pixel"] == [30, 10]


@pytest.mark.parametrize("plane", ["native", "coronal", "sagittal"])
@pytest.mark.parametrize("name", sorted(affines()))
def test_steps_lead_from_pixel_to_pixel(tmp_path: Path, plane: str, name: str) -> None:
    volume = only(write_series(tmp_path / "s", affine=affines()[name]))
    stack = SliceStack(volume, Window(0, 900, "custom", ""), plane)
    steps, middle = stack.steps(), stack.center(stack.indices[1])
    assert steps is not None
    assert middle is not None
    rows, columns = stack.full_shape
    at = np.array(middle) + (2 - (rows - 1) / 2) * steps.row + (3 - (columns - 1) / 2) * steps.column
    assert np.array(volume.world(stack.voxel_index(stack.indices[1], 2, 3))) == pytest.approx(at, abs=1e-6)
    assert np.array(stack.center(stack.indices[2])) - middle == pytest.approx(steps.slice, abs=1e-6)
