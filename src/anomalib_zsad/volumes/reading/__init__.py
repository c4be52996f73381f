"""DICOM and NIfTI: from a path to volumes, with what is wrong named."""
