"""DICOM headers as the few facts that reading needs: one `Frame` for each image plane.

Single-frame files and enhanced multi-frame files give the same `Frame`s, so that everything after this module treats
them alike. No text tag (names, descriptions, comments) is ever looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from anomalib_zsad.volumes.faults import Fault, Finding, SeriesRefusedError, refuse, warn
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.dicom_files import (
    check_items,
    open_dicom,
    pixel_bytes,
    quiet_pydicom,
    read_dataset,
    refuse_header,
)
from anomalib_zsad.volumes.reading.frame_moments import Moment, moments_of, order_of
from anomalib_zsad.volumes.reading.image_kinds import component_of, kind_of
from anomalib_zsad.volumes.reading.sequence_facts import SequenceFact, sequence_of
from anomalib_zsad.volumes.reading.series_tags import read_series_tag
from anomalib_zsad.volumes.reading.tag_values import (
    code,
    codes,
    find,
    first_item,
    integer,
    number,
    number_or_nan,
    numbers,
    uid,
)
from anomalib_zsad.volumes.reading.tiled_slices import Tile, find_mosaic

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """One image plane of a series, from its header.

    Attributes:
        file: Index of its file within the series.
        index: Index of the frame within the file; `None` for single-frame files.
        position: ImagePositionPatient (LPS, mm), or `None`.
        orientation: ImageOrientationPatient, direction cosines of a row and of a column (LPS), or `None`.
        spacing: PixelSpacing (between rows, between columns) in mm, or `None`.
        padding: Smallest and largest stored value that means "no data", or `None`.
        slope, intercept: Modality rescale; NaN where the header says so.
        moments: What may tell frames at one position apart: (name, value) pairs, the most telling first.
        order: Clocks by which frames at one position follow each other: (name, value) pairs.
        kind: `original`, or what the image was computed to be (`image_kinds.KINDS`).
        tile: Where the plane lies in its image, where that holds several; `rows` and `columns` are the tile's own.
        sequence: How it was acquired: (name with unit, value) pairs.
    """

    file: int
    index: int | None
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    body_part: str
    rows: int
    columns: int
    position: Triple | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    transfer_syntax: str
    photometric: str
    samples: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    has_lookup_table: bool
    rescale_type: str
    padding: tuple[int, int] | None
    instance_number: int | None
    image_type: tuple[str, ...]
    lossy: bool
    burned_in: bool
    moments: tuple[Moment, ...]
    order: tuple[tuple[str, float], ...] = ()
    kind: str = "original"
    tile: Tile | None = None
    sequence: tuple[SequenceFact, ...] = ()

    @property
    def identity(self) -> tuple[str, int | None, int | None]:
        """SOP instance UID, frame and tile: equal in copies of one image."""
        return self.sop_instance_uid, self.index, None if self.tile is None else self.tile.number


def read_frames(files: tuple[FileSource, ...], budget: SizeBudget | None = None) -> tuple[list[Frame], list[Finding]]:
    """The planes of all files of a series, in the files' order, and warnings about damaged copies that are left out.

    Raises:
        SeriesRefusedError: If a header cannot be read and no other file holds the same instance, or if it claims more
            than the budget.
    """
    budget = budget or SizeBudget()
    frames: list[Frame] = []
    damaged: list[tuple[FileSource, SeriesRefusedError]] = []
    for index, file in enumerate(files):
        try:
            frames += _read_file(file, index, budget)
        except SeriesRefusedError as error:  # noqa: PERF203
            damaged.append((file, error))
    known = {frame.sop_instance_uid for frame in frames}
    findings = []
    for file, refusal in damaged:
        instance = _instance_of(file)
        if not instance or instance not in known:
            raise refusal
        message = f"a damaged copy of an instance is left out: {refusal.finding.message}"
        findings.append(warn(Fault.DUPLICATE_INSTANCES, message, (instance,), (file.name,)))
    return frames, findings


def _instance_of(file: FileSource) -> str:
    """SOP instance UID of a file that is damaged further on; empty where it cannot be had."""
    try:
        tag = read_series_tag(file)
    except SeriesRefusedError:
        return ""
    return "" if tag is None else tag.sop_instance_uid


def _read_file(file: FileSource, index: int, budget: SizeBudget) -> list[Frame]:
    try:
        with open_dicom(file, budget) as stream:
            check_items(stream, file)
            dataset = read_dataset(stream, pixels=False)
            if dataset is None:
                refuse(Fault.OTHER_FILE, "a file of the series is no DICOM file")
            with quiet_pydicom():
                _check_pixels(dataset, pixel_bytes(stream, dataset), budget)
                return list(frames_of(dataset, index))
    except SeriesRefusedError as error:
        raise error.about(file.name) from error
    except MemoryError:
        raise
    # A parser of untrusted bytes fails in many ways; each of them means that this header cannot be read.
    except Exception as error:
        refuse_header(error, file)


def _check_pixels(dataset: Dataset, length: int | None, budget: SizeBudget) -> None:
    """Compare what a header claims with the budget and with the length of its pixel data, before it is believed.

    Args:
        dataset: The header.
        length: Of the pixel data in bytes; `None` where they are compressed.
        budget: Limits.

    Raises:
        SeriesRefusedError: If it claims too much, or there are no pixel data.
    """
    count = frame_count(dataset)
    budget.check_volume(count * int(dataset.Rows) * int(dataset.Columns), f"a DICOM file of {count:,} frames")
    instance = tuple(filter(None, [uid(dataset, "SOPInstanceUID")]))
    if length == 0:
        refuse(
            Fault.NO_PIXELS, "an image without pixel data (removed, or stored elsewhere): nothing to screen", instance
        )
    if length is None or count == 1:
        return
    bits = int(dataset.get("BitsAllocated") or 16) * int(dataset.get("SamplesPerPixel") or 1)
    claimed = count * int(dataset.Rows) * int(dataset.Columns) * bits // 8
    if str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422":
        claimed = claimed * 2 // 3
    if claimed > length:
        message = f"the header claims {count:,} frames of {claimed:,} bytes, and the pixel data have {length:,} bytes"
        refuse(Fault.TRUNCATED_PIXELS, message, instance)


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames, at least 1.

    Raises:
        SeriesRefusedError: If it is no positive number.
    """
    value = dataset.get("NumberOfFrames")
    if value is None or value == "":
        return 1
    count = integer(value)
    if count is None or (count < 1 and count != 0):
        refuse(Fault.ABSURD_NUMBERS, f"the number of frames is {str(value)[:20]}, which is no number of images")
    return count or 1


def frames_of(dataset: Dataset, file: int) -> Iterator[Frame]:
    """The planes of one dataset; `file` is its index in the series.

    Raises:
        SeriesRefusedError: If it holds many slices in one image that cannot be told apart.
    """
    count = frame_count(dataset)
    mosaic = find_mosaic(dataset, codes(dataset.get("ImageType")))
    if mosaic is not None:
        whole = _frame(dataset, [dataset], file, None)
        for tile in mosaic.tiles(dataset):
            yield replace(whole, rows=mosaic.rows, columns=mosaic.columns, position=tile.position, tile=tile)
        return
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not per_frame and count == 1:
        yield _frame(dataset, [dataset], file, None)
        return
    for index in range(count):
        groups = [per_frame[index]] if index < len(per_frame) else []
        yield _frame(dataset, [*groups, *([shared] if shared is not None else []), dataset], file, index)


def _frame(dataset: Dataset, groups: list[Dataset], file: int, index: int | None) -> Frame:
    """One plane. `groups` are searched in order: the frame's own functional groups, the shared ones, the dataset."""
    position = numbers(find(groups, "PlanePositionSequence", "ImagePositionPatient"), 3)
    orientation = numbers(find(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing = numbers(find(groups, "PixelMeasuresSequence", "PixelSpacing"), 2)
    slope = find(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = find(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    image_type = codes(find(groups, "MRImageFrameTypeSequence", "FrameType") or dataset.get("ImageType"))
    said = code(find(groups, "MRImageFrameTypeSequence", "ComplexImageComponent"))
    component = component_of(dataset, image_type, said)
    instance_number = integer(dataset.get("InstanceNumber"))
    lossy = str(dataset.get("LossyImageCompression", "")) == "01"
    moments = tuple(moments_of(groups, component, image_type))
    return Frame(
        file=file,
        index=index,
        sop_instance_uid=uid(dataset, "SOPInstanceUID"),
        sop_class_uid=uid(dataset, "SOPClassUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=uid(dataset, "FrameOfReferenceUID"),
        modality=code(dataset.get("Modality")),
        body_part=code(dataset.get("BodyPartExamined")),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=(position[0], position[1], position[2]) if position else None,
        orientation=orientation,
        spacing=(spacing[0], spacing[1]) if spacing else None,
        thickness=number(find(groups, "PixelMeasuresSequence", "SliceThickness")),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        photometric=code(dataset.get("PhotometricInterpretation")),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        bits_stored=int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16),
        signed=bool(dataset.get("PixelRepresentation", 0)),
        slope=1.0 if slope is None else number_or_nan(slope),
        intercept=0.0 if intercept is None else number_or_nan(intercept),
        has_lookup_table=bool(dataset.get("ModalityLUTSequence")),
        rescale_type=code(dataset.get("RescaleType"))
        or code(find(groups, "PixelValueTransformationSequence", "RescaleType")),
        padding=_padding(dataset),
        instance_number=instance_number,
        image_type=image_type,
        lossy=lossy or _is_lossy_syntax(str(dataset.file_meta.TransferSyntaxUID)),
        burned_in=str(dataset.get("BurnedInAnnotation", "")) == "YES",
        moments=moments,
        sequence=sequence_of(groups, moments),
        order=tuple(order_of(groups, instance_number)),
        kind=kind_of(image_type, component),
    )


def _is_lossy_syntax(uid: str) -> bool:
    """Transfer syntaxes that are lossy by name (PS3.6, table A-1): baseline and extended JPEG, HEVC, MPEG."""
    return uid.startswith(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.10"))


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    value = _stored_value(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_value(dataset, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    return min(value, limit), max(value, limit)


def _stored_value(dataset: Dataset, keyword: str) -> int | None:
    """A stored pixel value, whatever sign its element was written with.

    Writers take US or SS without regard to PixelRepresentation: 63536 among signed pixels of 16 bits means -2000.
    """
    value = integer(dataset.get(keyword))
    if value is None:
        return None
    values = 1 << int(dataset.get("BitsAllocated") or 16)
    value %= values
    return value - values if dataset.get("PixelRepresentation", 0) and value >= values // 2 else value
