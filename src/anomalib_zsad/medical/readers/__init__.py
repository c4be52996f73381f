"""Readers: DICOM series and NIfTI files to `Volume`."""
