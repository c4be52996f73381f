"""The frozen CLIP backbone."""

from .config import BackboneConfig, load_config
from .frozen_clip import FrozenCLIP
from .text import Prefix, TextTower
from .vision import ImageTokens, VisionTower
from .weights import WEIGHTS_VARIABLE, WeightsMismatchError, WeightsUnavailableError

__all__ = [
    "WEIGHTS_VARIABLE",
    "BackboneConfig",
    "FrozenCLIP",
    "ImageTokens",
    "Prefix",
    "TextTower",
    "VisionTower",
    "WeightsMismatchError",
    "WeightsUnavailableError",
    "load_config",
]
