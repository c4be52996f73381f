"""The scales of maps are matplotlib's."""

from typing import get_args

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from anomalib_zsad.pages.colours import Scale, colour_table


@pytest.mark.parametrize("name", get_args(Scale))
def test_the_colours_are_matplotlibs(name: Scale) -> None:
    table = colormaps[name].resampled(256)
    assert colour_table(name) == [to_hex(table(index)) for index in range(256)]
    levels = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in colour_table(name)])
    assert np.diff(levels @ (0.299, 0.587, 0.114)).min() > -0.5  # it rises, but for the rounding of its levels
