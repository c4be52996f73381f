"""The folder that a run writes to."""


class OutputInUseError(Exception):
    """The output folder holds something that would be overwritten or mixed up."""
