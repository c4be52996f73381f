"""An encapsulated PDF in the study of the source."""

from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.writing.derived_object import MANUFACTURER, Algorithm, describe_series, settle_uids
from anomalib_zsad.volumes.writing.dicom_source import SourceImages, reference_to


def write_pdf(path: Path, source: SourceImages, document: bytes, title: str, algorithm: Algorithm) -> None:
    """Write a PDF as a DICOM object (PS3.3, A.45.1).

    Args:
        path: A new file.
        source: The source images.
        document: The PDF.
        title: What it is; tells nothing of the patient.
        algorithm: What made it.
    """
    from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

    first, now = source.headers[0], datetime.now().astimezone()
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = EncapsulatedPDFStorage
    made.SOPInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.StudyInstanceUID = first.StudyInstanceUID
    made.Modality, made.SeriesNumber, made.InstanceNumber = "DOC", 904, 1
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, algorithm.name
    made.SoftwareVersions, made.DeviceSerialNumber, made.ConversionType = algorithm.version, "0", "WSD"
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation, made.DocumentTitle = "NO", title
    made.ConceptNameCodeSequence = []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.SourceInstanceSequence = [reference_to(header) for header in source.headers]
    made.EncapsulatedDocumentLength = len(document)
    made.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    describe_series(made, source, "Anomaly key slices")
    with quiet_pydicom():
        settle_uids(made, source, algorithm, "pdf")
        made.save_as(path, enforce_file_format=True)
