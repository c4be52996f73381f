"""Faults of DICOM inputs: each test makes one row of the table and checks what must happen."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLosslessSV1, generate_uid

from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, SeriesRefusedError
from anomalib_zsad.volumes.reading.monai_readers import DicomSeriesReader, NiftiVolumeReader
from anomalib_zsad.volumes.volume import Units
from tests.volumes.volume_builders import (
    SHAPE,
    affines,
    edit_file,
    marked_voxels,
    message,
    only,
    outcomes,
    read_all,
    write_enhanced,
    write_series,
)


def test_the_table_is_whole() -> None:
    assert [fault.number for fault in Fault] == list(range(1, 48))
    assert len({fault.code for fault in Fault}) == 47


def test_a_finding_cannot_end_in_what_its_row_does_not_allow() -> None:
    with pytest.raises(ValueError, match="GANTRY_TILT cannot end in refused"):
        Finding(Fault.GANTRY_TILT, Outcome.REFUSE, "no")


def test_01_truncated_pixels_are_refused_naming_the_file(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    target = folder / "f003.dcm"
    uid = pydicom.dcmread(target).SOPInstanceUID
    target.write_bytes(target.read_bytes()[:-50])
    volumes, findings = read_all(folder)
    assert not volumes
    assert outcomes(findings) == {1: "refused"}
    assert uid in message(findings, 1)
    assert findings[0].files == ("f003.dcm",)
    assert "f003" not in str(findings[0].as_dict())
    assert findings[0].as_dict(with_files=True)["files"] == ["f003.dcm"]


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_02_without_geometry_no_volume_but_2d_mode(tmp_path: Path, keyword: str) -> None:
    def strip(dataset: Dataset, index: int) -> None:
        delattr(dataset, keyword)

    folder = write_series(tmp_path / "s", edit=strip)
    volumes, findings = read_all(folder)
    assert not volumes
    assert outcomes(findings) == {2: "refused"}
    assert "--mode 2d" in message(findings, 2)
    volume = only(folder, mode="2d")
    assert volume.shape == SHAPE
    assert not volume.geometry_known
    assert volume.spacing is None
    assert not volume.segmentable
    assert outcomes(volume.findings)[2] == "warning"
    np.testing.assert_array_equal(volume.voxels, marked_voxels())


def test_02_a_volume_stays_a_volume_in_2d_mode(tmp_path: Path) -> None:
    volume = only(write_series(tmp_path / "s"), mode="2d")
    assert volume.geometry_known
    assert volume.findings == []


@pytest.mark.parametrize("keyword", ["SOPClassUID", "FrameOfReferenceUID"])
def test_03_without_uids_scored_but_no_seg(tmp_path: Path, keyword: str) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        delattr(dataset, keyword)
        dataset.save_as(path)
    volume = only(folder)
    assert outcomes(volume.findings) == {3: "warning"}
    assert not volume.segmentable
    np.testing.assert_array_equal(volume.voxels, marked_voxels())


def test_03_series_without_series_uid_is_grouped_by_its_folder(tmp_path: Path) -> None:
    def strip(dataset: Dataset, index: int) -> None:
        del dataset.SeriesInstanceUID
        del dataset.StudyInstanceUID

    write_series(tmp_path / "a", edit=strip)
    write_series(tmp_path / "b", edit=strip, seed="other")
    volumes, _ = read_all(tmp_path)
    assert [volume.shape for volume in volumes] == [SHAPE, SHAPE]


def test_04_identical_duplicates_are_dropped(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    (folder / "copy.dcm").write_bytes((folder / "f002.dcm").read_bytes())
    volume = only(folder)
    assert volume.shape == SHAPE
    assert outcomes(volume.findings)[4] == "warning"


def test_04_different_instances_of_one_uid_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    other = pydicom.dcmread(folder / "f002.dcm")
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(folder / "copy.dcm")
    volumes, findings = read_all(folder)
    assert not volumes
    assert outcomes(findings) == {4: "refused"}
    assert set(findings[0].files) == {"f002.dcm", "copy.dcm"}


def test_05_several_series_in_one_folder_are_read_each(tmp_path: Path) -> None:
    write_series(tmp_path, seed="one", prefix="a")
    write_series(tmp_path, marked_voxels((8, 8, 3), (5, 1, 1)), seed="two", prefix="b")
    volumes, _ = read_all(tmp_path)
    assert [volume.shape for volume in volumes] == [SHAPE, (8, 8, 3)]
    with pytest.raises(SeriesRefusedError, match="2 volumes here; choose one with series="):
        DicomSeriesReader().read(tmp_path)
    from anomalib_zsad.volumes.reading.discovery import discover

    key = discover(tmp_path).candidates[1].key
    assert DicomSeriesReader(key).read(tmp_path).shape == (8, 8, 3)


def test_06_a_scout_under_the_same_uid_is_split_off(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    scout = tmp_path / "scout"
    write_series(scout, marked_voxels((12, 10, 1), (1, 1, 0)), affines()["sagittal"], prefix="scout")
    dataset = pydicom.dcmread(scout / "scout000.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.InstanceNumber = 99
    dataset.save_as(folder / "scout.dcm")
    volumes, findings = read_all(folder)
    assert [volume.shape for volume in volumes] == [SHAPE]
    skipped = [finding for finding in findings if finding.outcome is Outcome.SKIP]
    assert skipped[0].instances == (dataset.SOPInstanceUID,)
    assert outcomes(volumes[0].findings) == {6: "warning"}


def test_06_a_localizer_is_skipped(tmp_path: Path) -> None:
    for name in ("lps", "sagittal", "oblique"):
        prefix = name

        def rename(dataset: Dataset, index: int, prefix: str = prefix) -> None:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

        write_series(tmp_path, affine=affines()[name], prefix=prefix, edit=rename)
    volumes, findings = read_all(tmp_path)
    assert not volumes
    assert outcomes(findings) == {6: "skipped"}
    assert "localizer" in message(findings, 6)
    assert "6 + 6 + 6" in message(findings, 6)


def test_07_gantry_tilt_keeps_the_sheared_affine(tmp_path: Path) -> None:
    volume = only(write_series(tmp_path / "s", affine=affines()["tilted"]))
    assert outcomes(volume.findings) == {7: "warning"}
    assert "12.68 degrees" in message(volume.findings, 7)
    np.testing.assert_allclose(volume.affine, affines()["tilted"], atol=1e-4)


def test_08_a_missing_slice_leaves_an_empty_slot(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", edit=lambda dataset, index: index != 2)
    volume = only(folder)
    assert volume.shape == SHAPE
    assert volume.filled.tolist() == [True, True, False, True, True, True]
    assert np.isnan(volume.voxels[:, :, 2]).all()
    np.testing.assert_array_equal(volume.voxels[:, :, 3:], marked_voxels()[:, :, 3:])
    assert outcomes(volume.findings) == {8: "warning"}
    assert "1 slice(s) missing" in message(volume.findings, 8)
    assert "(31.0, -17.0, 16.0)" in message(volume.findings, 8)


def test_08_uneven_slices_keep_their_true_positions(tmp_path: Path) -> None:
    depths = [0, 4, 8, 13.3, 18.6, 20.1]

    def move(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient[2] = 8 + depths[index]

    volume = only(write_series(tmp_path / "s", edit=move))
    assert not volume.regular
    assert outcomes(volume.findings) == {8: "warning"}
    for index, depth in enumerate(depths):
        assert volume.world((0, 0, index)) == pytest.approx((31, -17, 8 + depth))
    assert [part[0] for part in volume.even_parts()] == [slice(0, 3), slice(3, 5), slice(5, 6)]
    with pytest.raises(ValueError, match="unevenly spaced"):
        volume.as_metatensor()
    reader = DicomSeriesReader()
    with pytest.raises(SeriesRefusedError, match="unevenly spaced"):
        reader.get_data(volume)


def write_repeated(folder: Path, values: tuple[float, ...], keyword: str | None) -> Path:
    for number, value in enumerate(values):

        def label(dataset: Dataset, index: int, number: int = number, value: float = value) -> None:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = number * 6 + index + 1
            if keyword:
                setattr(dataset, keyword, value)

        voxels = marked_voxels() + np.int16(100 * number)
        write_series(folder, voxels, modality="MR", edit=label, prefix=f"v{number}_")
    return folder


@pytest.mark.parametrize(
    ("keyword", "label"),
    [
        ("DiffusionBValue", "b"),
        ("TemporalPositionIdentifier", "time"),
        ("EchoTime", "echo"),
        ("AcquisitionNumber", "acquisition"),
    ],
)
def test_09_frames_at_one_position_are_split(tmp_path: Path, keyword: str, label: str) -> None:
    from anomalib_zsad.volumes.options import ReadingOptions
    from anomalib_zsad.volumes.reading.discovery import discover
    from anomalib_zsad.volumes.reading.loading import plan_jobs

    folder = write_repeated(tmp_path / "s", (50, 800), keyword)
    volumes, findings = read_all(folder)
    assert [volume.shape for volume in volumes] == [SHAPE, SHAPE]
    assert outcomes(findings) == {9: "warning"}
    np.testing.assert_array_equal(volumes[1].voxels - volumes[0].voxels, 100)
    jobs, _ = plan_jobs(discover(folder).candidates[0], ReadingOptions())
    assert [job.key.split("-")[-1] for job in jobs] == [f"{label}50", f"{label}800"]


def test_09_private_b_values_of_siemens(tmp_path: Path) -> None:
    def label(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.add_new((0x0019, 0x0010), "LO", "SIEMENS MR HEADER")
        dataset.add_new((0x0019, 0x100C), "IS", "1000")

    write_series(tmp_path, modality="MR", edit=label, prefix="a")
    write_series(
        tmp_path,
        marked_voxels() * 2,
        modality="MR",
        prefix="b",
        edit=lambda d, i: d.add_new((0x19, 0x100C), "UN", b"50 "),
    )
    volumes, findings = read_all(tmp_path)
    assert len(volumes) == 2
    assert "split by b-value" in message(findings, 9)


def test_09_what_nothing_tells_apart_is_refused(tmp_path: Path) -> None:
    volumes, findings = read_all(write_repeated(tmp_path / "s", (0, 1), None))
    assert not volumes
    assert outcomes(findings) == {9: "refused"}
    assert "12 images at 6 positions" in message(findings, 9)


@pytest.mark.parametrize("name", ["lps", "oblique", "sagittal", "tilted"])
def test_10_enhanced_multi_frame_has_geometry_per_frame(tmp_path: Path, name: str) -> None:
    order = [3, 0, 5, 1, 4, 2]
    volume = only(write_enhanced(tmp_path / "e.dcm", affines()[name], order=order))
    np.testing.assert_array_equal(volume.voxels, marked_voxels())
    np.testing.assert_allclose(volume.affine, affines()[name], atol=1e-4)
    assert [source.frame_number for source in volume.slices] == [order.index(k) + 1 for k in range(6)]


def test_10_truncated_multi_frame_is_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", affines()["lps"], order=list(range(6)))
    path.write_bytes(path.read_bytes()[:-100])
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {1: "refused"}


def test_11_monochrome1_is_inverted(tmp_path: Path) -> None:
    def low_is_white(dataset: Dataset, index: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PixelRepresentation = 0
        dataset.BitsStored, dataset.HighBit = 12, 11

    volume = only(write_series(tmp_path / "s", edit=low_is_white, modality="MR"))
    assert outcomes(volume.findings) == {11: "warning"}
    np.testing.assert_array_equal(volume.voxels, 4095 - marked_voxels())


def test_11_hounsfield_units_keep_their_meaning(tmp_path: Path) -> None:
    def low_is_white(dataset: Dataset, index: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    volume = only(write_series(tmp_path / "s", edit=low_is_white))
    assert volume.units is Units.HOUNSFIELD
    assert "Hounsfield units, kept" in message(volume.findings, 11)
    np.testing.assert_array_equal(volume.voxels, marked_voxels())


def test_12_signed_and_unsigned_files_are_rescaled_each(tmp_path: Path) -> None:
    voxels = marked_voxels() - np.int16(500)

    def alternate(dataset: Dataset, index: int) -> None:
        if index % 2:
            plane = voxels[:, :, index].T.astype(np.int32) + 1000
            dataset.PixelRepresentation = 0
            dataset.PixelData = plane.astype("<u2").tobytes()
            dataset.RescaleIntercept = -1000

    volume = only(write_series(tmp_path / "s", voxels, edit=alternate))
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert outcomes(volume.findings) == {12: "warning"}


def test_13_rescale_is_applied_slice_by_slice(tmp_path: Path) -> None:
    def rescale(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope = index + 1
        dataset.RescaleIntercept = -10 * index

    volume = only(write_series(tmp_path / "s", edit=rescale))
    slopes, intercepts = np.arange(1, 7), -10 * np.arange(6)
    np.testing.assert_array_equal(volume.voxels, marked_voxels() * slopes + intercepts)


def test_13_rescale_per_frame(tmp_path: Path) -> None:
    volume = only(
        write_enhanced(tmp_path / "e.dcm", affines()["lps"], order=[1, 0, 2, 3, 4, 5], slopes=[1, 2, 3, 4, 5, 6])
    )
    np.testing.assert_array_equal(volume.voxels, marked_voxels() * np.arange(1, 7))


def test_13_modality_look_up_table_is_applied(tmp_path: Path) -> None:
    def tabulate(dataset: Dataset, index: int) -> None:
        table = Dataset()
        table.LUTDescriptor = [1000, 0, 16]
        table.ModalityLUTType = "US"
        table.LUTData = np.arange(3000, 4000).astype("<u2").tobytes()
        table["LUTData"].VR = "OW"
        dataset.ModalityLUTSequence = Sequence([table])
        dataset.PixelRepresentation = 0
        del dataset.RescaleSlope, dataset.RescaleIntercept

    volume = only(write_series(tmp_path / "s", edit=tabulate))
    np.testing.assert_array_equal(volume.voxels, marked_voxels() + 3000)


@pytest.mark.parametrize("slope", ["0", "nan"])
def test_13_a_slope_without_meaning_is_refused(tmp_path: Path, slope: str) -> None:
    def rescale(dataset: Dataset, index: int) -> None:
        if index == 3:
            element = pydicom.dataelem.DataElement((0x0028, 0x1053), "DS", "1")
            element._value = slope
            dataset[0x00281053] = element

    volumes, findings = read_all(write_series(tmp_path / "s", edit=rescale))
    assert not volumes
    assert outcomes(findings) == {13: "refused"}
    assert f"slope {float(slope)}" in message(findings, 13)


def test_14_padding_is_masked(tmp_path: Path) -> None:
    voxels = marked_voxels()
    voxels[:3] = -2000

    def pad(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -2000)

    volume = only(write_series(tmp_path / "s", voxels, edit=pad))
    assert np.isnan(volume.voxels[:3]).all()
    assert not np.isnan(volume.voxels[3:]).any()
    assert outcomes(volume.findings) == {14: "warning"}
    assert volume.dense_voxels()[:3].max() == voxels[3:].min()


def test_14_padding_range(tmp_path: Path) -> None:
    voxels = marked_voxels()
    voxels[0], voxels[1] = -1000, -1500

    def pad(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -1000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -2000)

    volume = only(write_series(tmp_path / "s", voxels, edit=pad))
    assert np.isnan(volume.voxels[:2]).all()


def colour_file(path: Path) -> Path:
    dataset = pydicom.dcmread(write_series(path.parent / "one", marked_voxels((12, 10, 1), (1, 1, 0))) / "f000.dcm")
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    pixels = np.zeros((10, 12, 3), np.uint8)
    pixels[..., 0] = 100
    pixels[2, 3] = 255
    dataset.PixelData = pixels.tobytes()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    dataset.Modality = "US"
    (path.parent / "one" / "f000.dcm").unlink()
    dataset.save_as(path)
    return path


def test_15_colour_is_2d_only_with_a_warning_of_text(tmp_path: Path) -> None:
    path = colour_file(tmp_path / "us.dcm")
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {15: "refused"}
    assert "burned" in message(findings, 15)
    volume = only(path, mode="2d")
    assert "burned" in message(volume.findings, 15)
    assert volume.voxels[3, 2, 0] == pytest.approx(255, abs=0.01)
    assert volume.voxels[0, 0, 0] == pytest.approx(21.26, abs=0.01)


def test_16_an_unsupported_transfer_syntax_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.9\x00")
        path.write_bytes(data)
    volumes, findings = read_all(folder)
    assert not volumes
    assert outcomes(findings) == {16: "refused"}
    assert "1.2.840.10008.1.2.9" in message(findings, 16)


@pytest.mark.skipif(importlib.util.find_spec("gdcm") is not None, reason="python-gdcm reads this compression")
def test_16_the_package_that_reads_a_transfer_syntax_is_named(tmp_path: Path) -> None:
    def compress(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True

    volumes, findings = read_all(write_series(tmp_path / "s", edit=compress))
    assert not volumes
    assert outcomes(findings) == {16: "refused"}
    assert "1.2.840.10008.1.2.4.70" in message(findings, 16)
    assert "pip install python-gdcm" in message(findings, 16)


def test_17_lossy_compression_is_reported(tmp_path: Path) -> None:
    def lossy(dataset: Dataset, index: int) -> None:
        dataset.LossyImageCompression = "01"

    assert outcomes(only(write_series(tmp_path / "s", edit=lossy)).findings) == {17: "warning"}


@pytest.mark.parametrize(
    ("modality", "sop_class", "words"),
    [
        ("SEG", "1.2.840.10008.5.1.4.1.1.66.4", "segmentation"),
        ("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", "structure set"),
        ("SR", "1.2.840.10008.5.1.4.1.1.88.22", "report"),
        ("RTDOSE", "1.2.840.10008.5.1.4.1.1.481.2", "dose"),
        ("ECG", "1.2.840.10008.5.1.4.1.1.9.1.1", "waveform"),
        ("KO", "1.2.840.10008.5.1.4.1.1.88.59", "key object"),
        ("OT", "1.2.840.10008.5.1.4.1.1.104.1", "without pixels"),
    ],
)
def test_18_other_objects_are_skipped(tmp_path: Path, modality: str, sop_class: str, words: str) -> None:
    def other(dataset: Dataset, index: int) -> bool:
        dataset.Modality = modality
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        if modality == "OT":
            del dataset.Rows, dataset.Columns, dataset.PixelData
        return index == 0

    write_series(tmp_path, edit=other, seed="object", prefix="o")
    write_series(tmp_path, seed="image")
    volumes, findings = read_all(tmp_path)
    assert len(volumes) == 1
    assert outcomes(findings) == {18: "skipped"}
    assert words in message(findings, 18)


def test_19_dicomdir_and_other_files_are_skipped(tmp_path: Path) -> None:
    write_series(tmp_path / "images")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    directory = pydicom.dcmread(tmp_path / "images" / "f000.dcm")
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del directory.PixelData, directory.Rows, directory.Columns
    directory.save_as(tmp_path / "DICOMDIR")
    volumes, findings = read_all(tmp_path)
    assert len(volumes) == 1
    messages = [finding.message for finding in findings if finding.fault is Fault.OTHER_FILE]
    assert sorted(messages) == ["2 file(s) are neither DICOM nor NIfTI", "a DICOMDIR; its files are found on their own"]


def test_19_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert read_all(tmp_path) == ([], [])
    with pytest.raises(SeriesRefusedError, match="no DICOM volume here"):
        DicomSeriesReader().read(tmp_path)


def test_29_without_instance_numbers_sorted_by_position(tmp_path: Path) -> None:
    def strip(dataset: Dataset, index: int) -> None:
        dataset.InstanceNumber = None if index % 2 else 1

    volume = only(write_series(tmp_path / "s", edit=strip))
    np.testing.assert_array_equal(volume.voxels, marked_voxels())
    assert outcomes(volume.findings) == {29: "warning"}


def test_31_a_preamble_of_another_format_is_read_over(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(b"MZ\x90\x00PAYLOAD".ljust(128, b"\x01") + content[128:])
    volume = only(folder)
    np.testing.assert_array_equal(volume.voxels, marked_voxels())
    assert outcomes(volume.findings) == {31: "warning"}


@pytest.mark.filterwarnings("ignore")  # pydicom's, while the test writes the odd tags
def test_32_odd_characters_and_paths_in_tags_do_no_harm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def odd(dataset: Dataset, index: int) -> None:
        dataset.SpecificCharacterSet = "NO_SUCH_SET"
        dataset.PatientName = "../../etc/passwd"
        dataset.SeriesDescription = "a/b\\c:\0*?"
        dataset.BodyPartExamined = "../HEAD"

    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        edit_file(path, lambda dataset: odd(dataset, 0))
    capfd.readouterr()
    volume = only(folder)
    assert volume.body_part == ""
    assert volume.series_instance_uid.replace(".", "").isdigit()
    captured = capfd.readouterr()
    assert "passwd" not in captured.out + captured.err


def test_readers_say_which_names_are_theirs() -> None:
    assert NiftiVolumeReader().verify_suffix("a.nii.gz")
    assert not NiftiVolumeReader().verify_suffix(["a.nii", "b.dcm"])
    assert DicomSeriesReader().verify_suffix(Path("folder"))
    assert not DicomSeriesReader().verify_suffix("a.nii")


def test_a_list_of_files_is_one_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    reader = DicomSeriesReader()
    voxels, meta = reader.get_data(reader.read(sorted(folder.iterdir(), key=os.path.getsize)))
    np.testing.assert_array_equal(voxels, marked_voxels())
    np.testing.assert_allclose(meta["affine"], affines()["lps"], atol=1e-4)
