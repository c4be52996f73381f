"""Volumes (DICOM, NIfTI) as slices for the detectors: reading, windowing, screening, a datamodule."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule
    from anomalib_zsad.volumes.reading.monai_readers import DicomSeriesReader, NiftiVolumeReader
    from anomalib_zsad.volumes.volume import Volume

__all__ = ["DicomSeriesReader", "NiftiVolumeReader", "Volume", "VolumeDataModule"]

_HOMES = {
    "DicomSeriesReader": "reading.monai_readers",
    "NiftiVolumeReader": "reading.monai_readers",
    "Volume": "volume",
    "VolumeDataModule": "datasets.datamodule",
}


def __getattr__(name: str) -> Any:
    """Import a public class when it is first asked for, so that importing the package stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
