"""Make this package's models and datamodules known to anomalib without anybody importing them."""


def autoload() -> None:
    """What torch calls at the end of ``import torch``."""
