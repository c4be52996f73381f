"""Series of several volumes: split by what headers say, chosen by name and number; copies; derived images."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget
from anomalib_zsad.volumes.reading.discovery import discover
from anomalib_zsad.volumes.reading.loading import plan_jobs
from tests.volumes.volume_builders import (
    SHAPE,
    edit_file,
    marked_voxels,
    message,
    only,
    outcomes,
    read_all,
    write_series,
)


def write_volumes(folder: Path, values: list[dict[str, object]], *, shuffle: bool = False) -> Path:
    """One series of several volumes at the same places; volume n is brighter by 100 n."""
    for number, tags in enumerate(values):

        def label(dataset: Dataset, index: int, number: int = number, tags: dict[str, object] = tags) -> None:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = index * len(values) + number + 1 if shuffle else number * SHAPE[2] + index + 1
            for keyword, value in tags.items():
                setattr(dataset, keyword, value(index) if callable(value) else value)

        write_series(folder, marked_voxels() + np.int16(100 * number), modality="MR", edit=label, prefix=f"v{number}_")
    return folder


def suffixes(folder: Path, **options: object) -> list[str]:
    (candidate,) = discover(folder).candidates
    jobs, _ = plan_jobs(candidate, ReadingOptions(**options))
    return [job.key.removeprefix(candidate.key) for job in jobs]


def image_type(word: str) -> dict[str, object]:
    return {"ImageType": ["ORIGINAL", "PRIMARY", word, "NONE"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([image_type("M"), image_type("P")], ["-magnitude", "-phase"]),
        ([image_type("M_FFE"), image_type("PHASE MAP")], ["-magnitude", "-phase"]),
        ([{"ComplexImageComponent": "REAL"}, {"ComplexImageComponent": "IMAGINARY"}], ["-imaginary", "-real"]),
        ([{"TriggerTime": 0}, {"TriggerTime": 300}], ["-trigger0", "-trigger300"]),
        ([{"InversionTime": 100}, {"InversionTime": 900}], ["-inversion100", "-inversion900"]),
        ([image_type("W"), image_type("F"), image_type("IN_PHASE")], ["-f-none", "-in_phase-none", "-w-none"]),
        (
            [{"DiffusionGradientOrientation": [1, 0, 0]}, {"DiffusionGradientOrientation": [0, 1, 0]}],
            ["-direction1", "-direction2"],
        ),
    ],
)
def test_09_what_tells_volumes_apart_names_them(
    tmp_path: Path, values: list[dict[str, object]], expected: list[str]
) -> None:
    folder = write_volumes(tmp_path / "s", values)
    assert suffixes(folder) == expected
    volumes, findings = read_all(folder)
    assert [volume.shape for volume in volumes] == [SHAPE] * len(values)
    assert f"into {len(values)} volumes" in message(findings, 9)
    sums = [volume.voxels.sum() for volume in volumes]
    assert np.ptp(sums) == (len(values) - 1) * 100 * np.prod(SHAPE)


def test_09_two_names_together_split_what_one_does_not(tmp_path: Path) -> None:
    values = [{**image_type(part), "EchoTime": echo} for echo in (4.9, 7.4) for part in ("M", "P")]
    folder = write_volumes(tmp_path / "s", values)
    assert suffixes(folder) == ["-magnitude-echo4.9", "-magnitude-echo7.4", "-phase-echo4.9", "-phase-echo7.4"]
    voxels = [volume.voxels for volume in read_all(folder)[0]]
    for volume, offset in zip(voxels, (0, 200, 100, 300), strict=True):
        np.testing.assert_array_equal(volume, marked_voxels() + offset)


@pytest.mark.parametrize("shuffle", [False, True])
def test_09_the_order_of_instances_tells_time_where_the_header_counts_the_time_points(
    tmp_path: Path, shuffle: bool
) -> None:
    folder = write_volumes(tmp_path / "s", [{"NumberOfTemporalPositions": 3}] * 3, shuffle=shuffle)
    assert suffixes(folder) == ["-time1", "-time2", "-time3"]
    for number, volume in enumerate(read_all(folder)[0]):
        np.testing.assert_array_equal(volume.voxels, marked_voxels() + 100 * number)


@pytest.mark.parametrize(("keyword", "name"), [("AcquisitionTime", "time"), ("TriggerTime", "phase")])
def test_09_clocks_that_differ_from_slice_to_slice_count_by_their_order(
    tmp_path: Path, keyword: str, name: str
) -> None:
    values = [{keyword: lambda index, start=start: f"{start + index}"} for start in (100100, 100200)]
    folder = write_volumes(tmp_path / "s", values)
    assert suffixes(folder) == [f"-{name}1", f"-{name}2"]
    for number, volume in enumerate(read_all(folder)[0]):
        np.testing.assert_array_equal(volume.voxels, marked_voxels() + 100 * number)


def test_09_single_slices_are_no_volumes(tmp_path: Path) -> None:
    """A number that differs in every image tells nothing apart."""
    values = [{"AcquisitionNumber": lambda index, start=start: start + index} for start in (0, 50)]
    _, findings = read_all(write_volumes(tmp_path / "s", values))
    assert outcomes(findings) == {9: "refused"}


def test_46_volumes_are_chosen_by_name_and_by_number(tmp_path: Path) -> None:
    values = [{**image_type(part), "EchoTime": echo} for echo in (4.9, 7.4) for part in ("M", "P")]
    folder = write_volumes(tmp_path / "s", values)
    assert suffixes(folder, select=("component=magnitude",)) == ["-magnitude-echo4.9", "-magnitude-echo7.4"]
    assert suffixes(folder, select=("component=magnitude", "echo=7.4")) == ["-magnitude-echo7.4"]
    assert suffixes(folder, select=("kind=original",)) == ["-magnitude-echo4.9", "-magnitude-echo7.4"]
    assert suffixes(folder, select=("time=3",)) == suffixes(folder)
    assert suffixes(folder, volume_index=2) == ["-phase-echo4.9"]
    assert suffixes(folder, select=("component=phase",), volume_index=1) == ["-phase-echo7.4"]
    volumes, findings = read_all(folder, select=("echo=4.9", "component=phase"))
    assert len(volumes) == 1
    assert outcomes(findings)[46] == "skipped"
    assert "3 of 4 volumes of the series were not asked for: magnitude-echo4.9" in message(findings, 46)
    _, findings = read_all(folder, volume_index=4)
    assert "volume index 4 of 4 volumes" in message(findings, 9)
    assert only(write_series(tmp_path / "one"), volume_index=3).shape == SHAPE
    with pytest.raises(ValueError, match=r"--select takes NAME=VALUE, such as time=1 or kind=original, not 'time'"):
        ReadingOptions(select=("time",))


def test_09_a_real_time_series_of_ge(shared_data: Path) -> None:
    """Equal, voxel by voxel, to dcm2niix's 64 x 64 x 15 x 10, whose sums of voxels at each time these are."""
    sums = [37088523, 35442104, 35011715, 35686330, 35853084, 35683872, 29012469, 32825695, 35539897, 35928782]
    volumes, findings = read_all(shared_data / "time_series_dicom")
    assert [volume.shape for volume in volumes] == [(64, 64, 15)] * 10
    assert volumes[0].spacing == pytest.approx((3.75, 3.75, 5), abs=1e-4)
    assert [int(volume.voxels.sum(dtype=np.float64)) for volume in volumes] == sums
    assert "split by time (order of InstanceNumber) into 10 volumes" in message(findings, 9)
    assert [volume.voxels.sum() for volume in read_all(shared_data / "time_series_dicom", volume_index=4)[0]] == [
        sums[4]
    ]


@pytest.mark.parametrize("damage", ["pixels", "header"])
@pytest.mark.parametrize("first", [False, True])
def test_04_a_damaged_copy_does_not_refuse_the_good_one(tmp_path: Path, damage: str, first: bool) -> None:
    folder = write_series(tmp_path / "s")
    copy = folder / ("a.dcm" if first else "z.dcm")
    copy.write_bytes((folder / "f002.dcm").read_bytes())
    if damage == "pixels":
        copy.write_bytes(copy.read_bytes()[:-60])
    else:
        edit_file(copy, lambda dataset: setattr(dataset, "NumberOfFrames", -5))
    volume = only(folder)
    np.testing.assert_array_equal(volume.voxels, marked_voxels())
    assert outcomes(volume.findings) == {4: "warning"}
    assert "left out" in message(volume.findings, 4)


def test_04_copies_are_compared_as_they_are_stored(tmp_path: Path) -> None:
    """Two kinds of padding are two kinds of pixels, though both are masked."""

    def pad(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1000)

    voxels = marked_voxels()
    voxels[:3] = -2000
    folder = write_series(tmp_path / "s", voxels, edit=pad)
    copy = pydicom.dcmread(folder / "f002.dcm")
    pixels = copy.pixel_array.copy()
    pixels[pixels == -2000] = -1000
    copy.PixelData = pixels.tobytes()
    copy.save_as(folder / "z.dcm")
    _, findings = read_all(folder)
    assert outcomes(findings) == {4: "refused"}


@pytest.mark.parametrize("value", [63536, -2000])
def test_14_padding_is_masked_whatever_sign_its_element_has(tmp_path: Path, value: int) -> None:
    voxels = marked_voxels()
    voxels[:3] = -2000
    folder = write_series(
        tmp_path / "s", voxels, edit=lambda d, _: d.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
    )
    volume = only(folder)
    assert np.isnan(volume.voxels[:3]).all()
    assert np.nanmin(volume.voxels) >= 0


def test_14_padding_of_unsigned_pixels_written_as_signed(tmp_path: Path) -> None:
    def pad(dataset: Dataset, index: int) -> None:
        dataset.PixelRepresentation = 0
        pixels = np.frombuffer(dataset.PixelData, "<u2").copy()
        pixels[:5] = 63536
        dataset.PixelData = pixels.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", -2000)

    volume = only(write_series(tmp_path / "s", edit=pad))
    assert np.isnan(volume.voxels[:5, 0]).all()
    assert np.nanmax(volume.voxels) == 900


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "adc"),
        (["ORIGINAL", "PRIMARY", "P", "ND"], "phase"),
        (["ORIGINAL", "PRIMARY", "B0", "B0"], "fieldmap"),
        (["DERIVED", "SECONDARY", "MPR"], "derived"),
    ],
)
def test_41_derived_images_are_named_and_can_be_left_out(tmp_path: Path, words: list[str], kind: str) -> None:
    folder = write_series(tmp_path / "s", modality="MR", edit=lambda d, _: setattr(d, "ImageType", words))
    assert f"(kind={kind})" in message(only(folder).findings, 41)
    volumes, findings = read_all(folder, select=("kind=original",))
    assert not volumes
    assert outcomes(findings) == {46: "skipped"}
    assert len(read_all(folder, select=(f"kind={kind}",))[0]) == 1


def test_41_dicom_of_two_values_is_read_with_a_warning(tmp_path: Path) -> None:
    volume = only(write_series(tmp_path / "s", (marked_voxels() > 30).astype(np.int16)))
    assert "two values only" in message(volume.findings, 41)


def test_21_the_budget_is_of_a_volume_not_of_all_time_points(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "s", [{"TemporalPositionIdentifier": n} for n in range(1, 6)])
    budget = SizeBudget(volume_bytes=int(np.prod(SHAPE)) * 4)
    assert len(read_all(folder, budget=budget)[0]) == 5
    _, findings = read_all(folder, budget=SizeBudget(volume_bytes=budget.volume_bytes - 4))
    assert outcomes(findings) == {21: "refused"}
