"""Colour tables for maps: perceptually uniform, rising in lightness, safe for every kind of colour vision.

They are matplotlib's. OpenCV has the same tables, and is imported where pictures are read in any case.
"""

from functools import cache
from typing import Literal

import cv2
import numpy as np

Scale = Literal["inferno", "viridis"]
# Both rise monotonically in lightness, so that they are read right in grey, too.
MAP: Scale = "inferno"
DEVIATION: Scale = "viridis"
_TABLES = {"inferno": cv2.COLORMAP_INFERNO, "viridis": cv2.COLORMAP_VIRIDIS}


@cache
def colour_table(name: Scale) -> list[str]:
    """256 colours, `#rrggbb`, from the lowest value to the highest.

    Args:
        name: Which scale.
    """
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], _TABLES[name])[:, 0, ::-1]
    return ["#" + bytes(colour).hex() for colour in table]
