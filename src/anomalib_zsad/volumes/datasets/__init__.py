"""Volumes with masks: layouts of data sets, masks, and a datamodule of slices."""
