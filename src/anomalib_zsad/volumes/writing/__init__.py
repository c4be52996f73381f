"""Maps on the grid of their volume: in a file beside the work, as NIfTI, as DICOM SEG."""
