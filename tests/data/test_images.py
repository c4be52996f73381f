"""Reading images and masks of any mode."""

import tracemalloc

import numpy as np
import pytest
import torch
from anomalib.data.utils import read_image as anomalib_read_image
from PIL import EpsImagePlugin, Image, PngImagePlugin

from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.data.image_files import open_picture, picture_mode, pixel_count, read_image, read_mask, was_turned
from anomalib_zsad.data.labelled_image import LabelledImage
from anomalib_zsad.data.listed_images import ListedImages
from anomalib_zsad.data.pillow_resize import PillowResize
from tests.data.broken_pictures import eps, png_whose_profile_is_cut_off


def save(folder, picture, name="image.png"):
    picture.save(folder / name)
    return folder / name


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "CMYK"])
def test_eight_bit_modes_read_as_anomalib_reads_them(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(pixels).convert(mode), "image.tif" if mode == "CMYK" else "image.png")
    image = read_image(path)
    assert image.shape == (3, 7, 9)
    assert image.dtype == torch.float32
    assert torch.equal(image, anomalib_read_image(path, as_tensor=True))


def test_a_16_bit_ramp_stays_a_ramp(tmp_path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    image = read_image(save(tmp_path, Image.fromarray(ramp)))
    torch.testing.assert_close(image[0], torch.from_numpy(ramp / 65535.0).float())
    assert torch.equal(image[0], image[2])
    # anomalib's reader saturates it: what this reader is for
    assert (anomalib_read_image(tmp_path / "image.png", as_tensor=True) == 1).float().mean() > 0.9


def test_12_bit_values_in_a_16_bit_file_are_not_black(tmp_path):
    ramp = np.linspace(0, 4095, 64, dtype=np.uint16).reshape(8, 8)
    image = read_image(save(tmp_path, Image.fromarray(ramp)))
    assert image.max() == 1
    torch.testing.assert_close(image[0], torch.from_numpy(ramp / 4095.0).float())


def test_signed_and_floating_values_are_rescaled(tmp_path):
    signed = np.array([[-1000, 0], [1000, 3000]], dtype=np.int32)
    image = read_image(save(tmp_path, Image.fromarray(signed), "signed.tif"))
    torch.testing.assert_close(image[0], torch.tensor([[0, 0.25], [0.5, 1]]))
    unit = np.array([[0.25, 0.5]], dtype=np.float32)
    image = read_image(save(tmp_path, Image.fromarray(unit), "unit.tif"))
    torch.testing.assert_close(image[0], torch.tensor([[0.25, 0.5]]))
    widest = np.array([[-3e38, 0], [1.5e38, 3e38]], dtype=np.float32)  # its span is no number of float32
    image = read_image(save(tmp_path, Image.fromarray(widest), "widest.tif"))
    torch.testing.assert_close(image[0], torch.tensor([[0, 0.5], [0.75, 1]]))


def test_a_single_pixel_reads(tmp_path):
    assert read_image(save(tmp_path, Image.new("L", (1, 1), 51))).shape == (3, 1, 1)


def test_unreadable_images_say_so(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as an image .*Replace the file or remove it"):
        read_image(tmp_path / "text.png")
    whole = save(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)))
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"half\.png cannot be read as an image"):
        read_image(tmp_path / "half.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="not finite"):
        read_image(save(tmp_path, Image.fromarray(np.array([[np.nan]], dtype=np.float32)), "nan.tif"))


def test_whatever_a_parser_fails_with_the_file_is_unreadable(tmp_path):
    (tmp_path / "cut.png").write_bytes(png_whose_profile_is_cut_off())
    for read in (read_image, read_mask, open_picture):
        with pytest.raises(ValueError, match=r"cut\.png cannot be read as an image \(IndexError: .*Replace the file"):
            read(tmp_path / "cut.png")


def test_memory_that_is_full_says_nothing_of_a_file(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    path = save(tmp_path, Image.new("L", (3, 2)))
    for broken in ("getexif", "load", "convert"):
        with monkeypatch.context() as patch:
            patch.setattr(PngImagePlugin.PngImageFile, broken, fail)
            with pytest.raises(MemoryError):
                read_image(path)


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_what_a_file_holds_decides_and_only_formats_of_the_endings_are_read(tmp_path, ending, monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append(1))
    (tmp_path / f"disguised{ending}").write_bytes(eps())
    for read in (read_image, read_mask, open_picture, pixel_count, picture_mode):
        with pytest.raises(ValueError, match=r"disguised\.\w+ cannot be read as an image \(it is of no known format\)"):
            read(tmp_path / f"disguised{ending}")
    assert not started
    own, other = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    Image.new("L", (3, 2), 90).save(own)
    Image.new("L", (3, 2), 90).save(other, "PNG")
    assert read_image(own).shape == read_image(other).shape == (3, 2, 3)


def test_values_whose_range_is_beyond_single_precision_stay_finite(tmp_path):
    image = read_image(save(tmp_path, Image.fromarray(np.array([[-3e38, 0, 3e38]], dtype=np.float32)), "wide.tif"))
    torch.testing.assert_close(image[0], torch.tensor([[0, 0.5, 1]]))


@pytest.mark.parametrize("size", [(1, 300_000), (300_000, 1)])
def test_a_long_and_narrow_picture_counts_as_what_a_model_makes_of_it(tmp_path, size):
    path = save(tmp_path, Image.new("1", size))
    assert path.stat().st_size < 1000
    assert pixel_count(path, 512 * 300_000) == 512 * 300_000
    with pytest.raises(ValueError, match=r"153,600,000 in all \(one longer than 32,768 counts as at least 512 wide\)"):
        read_image(path, 100_000_000)
    assert read_image(path).shape == (3, size[1], size[0])  # without a budget
    assert pixel_count(save(tmp_path, Image.new("1", (1, 32_768)), "b.png"), 32_768) == 32_768
    assert pixel_count(save(tmp_path, Image.new("1", (600, 32_769)), "c.png")) == 600 * 32_769


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_deep_pictures_take_no_more_memory_than_others(tmp_path, kind):
    side = 1500
    values = np.arange(side * side).reshape(side, side) % 60_000
    path = save(tmp_path, Image.fromarray((values - (kind != np.uint16) * 5).astype(kind)), "deep.tif")
    tracemalloc.start()
    try:
        image = read_image(path)
        most = tracemalloc.get_traced_memory()[1]  # beside what Pillow and torch allocate, 4 and 12 bytes a pixel
    finally:
        tracemalloc.stop()
    assert most < 12 * side**2
    expected = values / 65_535 if kind == np.uint16 else values / 59_999
    torch.testing.assert_close(image[1], torch.from_numpy(expected).float())


@pytest.mark.parametrize(
    ("mode", "values", "threshold", "expected"),
    [
        ("L", [0, 4, 127, 255], 127, [0, 0, 0, 1]),
        ("L", [0, 1, 2, 3], 0, [0, 1, 1, 1]),
        ("P", [0, 1, 2, 3], 0, [0, 1, 1, 1]),
        ("1", [0, 0, 0, 255], 127, [0, 0, 0, 1]),
    ],
)
def test_masks_are_thresholded_as_stored(tmp_path, mode, values, threshold, expected):
    picture = Image.fromarray(np.array([values], dtype=np.uint8), "P" if mode == "P" else "L")
    if mode == "P":
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    mask = read_mask(save(tmp_path, picture.convert(mode) if mode == "1" else picture), threshold)
    assert mask.tolist() == [expected]
    assert mask.dtype == torch.uint8


def test_a_red_mask_and_several_masks(tmp_path):
    red = np.zeros((1, 2, 3), dtype=np.uint8)
    red[0, 0, 0] = 255
    first = save(tmp_path, Image.fromarray(red), "a.png")
    second = save(tmp_path, Image.fromarray(red[:, ::-1].copy()), "b.png")
    assert read_mask(first, 127).tolist() == [[1, 0]]
    assert read_mask([first, second], 127).tolist() == [[1, 1]]


def test_a_threshold_that_does_not_fit_is_an_error_and_an_empty_mask_is_not(tmp_path):
    numbered = save(tmp_path, Image.fromarray(np.array([[0, 3]], dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"marks no pixel above 127: its largest value is 3.*mask_threshold"):
        read_mask(numbered, 127)
    empty = save(tmp_path, Image.new("L", (3, 2)), "empty.png")
    assert not read_mask(empty, 127).any()


# What a viewer shows of a picture for each of EXIF's orientations, by numpy.
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


def save_oriented(path, picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_pictures_are_turned_as_viewers_show_them(tmp_path, ending, orientation):
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    options = {"lossless": True} if ending == "webp" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{ending}", exif=exif, **options)
    image = read_image(tmp_path / f"a.{ending}")
    assert np.array_equal((image[1] * 255).round().numpy(), UPRIGHT[orientation](stored))
    assert was_turned(image) == (orientation > 1)


def test_a_picture_resized_as_published_is_turned_too(tmp_path):
    stored = np.zeros((8, 16, 4), np.uint8)
    stored[:, :4] = 255
    path = save_oriented(tmp_path / "a.png", Image.fromarray(stored), 6)
    resized = PillowResize((16, 8)).resize_file(path, read_image(path))
    assert resized[:, :2].mean() > 0.9
    assert resized[:, 8:].mean() < 0.1


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("note", [b"MM", b"nothing at all", b"MM\x00*\xff\xff\xff\xff", b"MM\x00*\x00\x00\x00\x08\x00"])
def test_a_damaged_note_of_the_orientation_costs_no_picture(tmp_path, note):
    Image.new("L", (3, 2), 90).save(tmp_path / "a.png", exif=note)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 2, 3)
    assert not was_turned(image)


def test_a_mask_lies_on_the_picture_as_it_is_shown(tmp_path):
    image = save_oriented(tmp_path / "a.jpg", Image.new("L", (30, 20)), 6)
    shown, stored = np.zeros((30, 20), np.uint8), np.zeros((20, 30), np.uint8)
    shown[:5], stored[:5] = 255, 255
    upright = save(tmp_path, Image.fromarray(shown), "shown.png")
    item = ListedImages([LabelledImage(image, abnormal=True, mask_path=upright, class_name="nut")])[0]
    assert item.gt_mask.shape == (30, 20)
    assert item.gt_mask[:5].all()
    assert item.turned
    lying = save(tmp_path, Image.fromarray(stored), "stored.png")
    with pytest.raises(
        ValueError, match=r"30 x 20, turned as its EXIF orientation says\. Give a mask of the image's size"
    ):
        ListedImages([LabelledImage(image, abnormal=True, mask_path=lying, class_name="nut")])[0]


def test_a_budget_of_pixels_takes_the_place_of_pillows_limit(tmp_path, monkeypatch):
    path = save(tmp_path, Image.new("L", (30, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"cannot be read as an image .*DecompressionBombError"):
        read_image(path)
    assert read_image(path, 600).shape == (3, 20, 30)
    assert pixel_count(path, 600) == 600
    with pytest.raises(ValueError, match=r"has 30 x 20 pixels, 600 in all, and no more than 599 are read"):
        read_image(path, 599)
    assert Image.MAX_IMAGE_PIXELS == 100
