"""Which images of a gallery have large pictures, and thumbnails on sheets."""

import base64
import io
import random

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.pages.gallery_selection import Shown
from anomalib_zsad.pages.thumbnails import COLUMNS, MAP_CELLS, PER_SHEET, Sheets, make_thumbnail


def chosen(order: list[tuple[str, float]], most: int, threshold: float | None) -> Shown:
    """A selection from a stream in which only images that are wanted have pictures."""
    shown = Shown(most, threshold)
    for place, (name, score) in enumerate(order):
        if shown.wants(name, score):
            shown.add(name, score, place)
    return shown


IMAGES = [(f"part{number:04d}.png", number / 1000) for number in range(1000)]


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_top_borderline_and_a_random_sample_of_the_rest(threshold: float | None) -> None:
    shown = chosen(IMAGES, 40, threshold)
    scores = sorted((dict(IMAGES)[name] for name in shown.places()), reverse=True)
    assert len(scores) == 40
    assert scores[:20] == [number / 1000 for number in range(999, 979, -1)]
    near = [score for score in scores if abs(score - 0.4) <= 0.005]
    assert (len(near) >= 9) == (threshold is not None)
    rest = [score for score in scores[20:] if abs(score - 0.4) > 0.005 or threshold is None]
    assert min(rest) < 0.3  # from everywhere
    assert max(rest) > 0.6
    assert sum(shown.parts().values()) == 40


def test_the_choice_does_not_depend_on_the_order() -> None:
    expected = set(chosen(IMAGES, 40, 0.4).places())
    for seed in range(3):
        order = list(IMAGES)
        random.Random(seed).shuffle(order)  # noqa: S311
        assert set(chosen(order, 40, 0.4).places()) == expected


def test_fewer_images_than_places_are_all_shown() -> None:
    assert len(chosen(IMAGES[:30], 40, 0.4).places()) == 30
    assert chosen(IMAGES[:3], 0, None).places() == {}


def colour(number: int) -> tuple[int, int, int]:
    return (40 + 20 * (number % 10), 200 - number, 100)


def thumbnails(count: int) -> Sheets:
    made = [
        make_thumbnail(np.full((60, 90, 3), colour(number), np.uint8), np.full((8, 8), number / 255, np.float32))
        for number in range(count)
    ]
    sizes = [None if number == 3 else (90, 60) for number in range(count)]
    return Sheets(sizes, made.__getitem__, 6000 * count)


def test_each_picture_is_in_its_place_of_the_sheet() -> None:
    sheets = thumbnails(PER_SHEET + 5)
    side, quality = sheets.choose()
    written = list(sheets.write(side, quality))
    assert len(written) == 2
    for number in (0, 9, PER_SHEET - 1, PER_SHEET, PER_SHEET + 4):
        sheet, place = written[number // PER_SHEET], number % PER_SHEET
        picture = Image.open(io.BytesIO(base64.b64decode(sheet["picture"].partition(",")[2])))
        corner = (place % COLUMNS * side + side // 3, place // COLUMNS * side + side // 3)
        assert picture.getpixel(corner) == pytest.approx(colour(number), abs=8)
        cells = np.frombuffer(base64.b64decode(sheet["maps"]), np.uint8).reshape(-1, MAP_CELLS**2)
        assert set(cells[place]) == {number}
    first = Image.open(io.BytesIO(base64.b64decode(written[0]["picture"].partition(",")[2])))
    assert max(first.getpixel((3 * side + side // 3, side // 3))) < 8  # the one that cannot be read


def test_sheets_keep_to_their_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    made = make_thumbnail(noise, np.zeros((8, 8), np.float32))
    sizes = [(100, 100)] * 200
    sides = []
    for budget in (4_000_000, 400_000, 150_000):
        sheets = Sheets(sizes, lambda _: made, budget)
        side, quality = sheets.choose()
        sides.append(side)
        written = sum(len(sheet["picture"]) + len(sheet["maps"]) for sheet in sheets.write(side, quality))
        assert written <= 1.1 * budget
    assert sides == sorted(sides, reverse=True)
    assert sides[0] > sides[-1]


@pytest.mark.parametrize("shape", [(333, 500), (16, 16), (9, 40)])
def test_a_small_defect_of_a_large_picture_is_in_its_coarse_map(shape: tuple[int, int]) -> None:
    heat = np.zeros(shape, np.float32)
    heat[shape[0] // 2, shape[1] * 3 // 4] = 1.0
    cells = np.frombuffer(base64.b64decode(make_thumbnail(np.zeros((*shape, 3), np.uint8), heat)["map"]), np.uint8)
    cells = cells.reshape(MAP_CELLS, MAP_CELLS)
    assert cells[MAP_CELLS // 2, MAP_CELLS * 3 // 4] == 255
    assert np.count_nonzero(cells) == 1 or shape[0] < MAP_CELLS
