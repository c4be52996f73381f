"""Colour tables for maps: perceptually uniform, rising in lightness, safe for every kind of colour vision."""

from functools import cache

# Both rise monotonically in lightness, so that they are read right in grey, too.
MAP = "inferno"
DEVIATION = "viridis"


@cache
def colour_table(name: str) -> list[str]:
    """256 colours, `#rrggbb`, from the lowest value to the highest.

    Args:
        name: Of a matplotlib colour map.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    table = colormaps[name].resampled(256)
    return [to_hex(table(index)) for index in range(256)]
