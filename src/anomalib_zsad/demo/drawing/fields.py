"""Scalar fields that drawings are made of: coordinates, noise, cells, relief and colours.

A field is a float32 array of shape (size, size); a picture is (size, size, 3) with values in [0, 1].
"""

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

Array = NDArray[np.floating[Any]]
Numbers = NDArray[np.intp]


def coordinates(size: int, angle: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)) -> tuple[Array, Array]:
    """Coordinates of pixel centres in [-0.5, 0.5], moved to `centre` and turned by `angle` radians: (x, y)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = axis[None, :] - np.float32(centre[0]), axis[:, None] - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def resize(field: Array, size: int, box: tuple[float, float, float, float] | None = None) -> Array:
    """Resample a field (or the part `box` = left, top, right, bottom of it) to (size, size), bicubic."""
    image = Image.fromarray(np.asarray(field, dtype=np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def smooth_noise(rng: np.random.Generator, size: int, cells: float | tuple[float, float]) -> Array:
    """Random field that varies over `cells` (down, across) bumps, about unit variance, with a random phase."""
    down, across = cells if isinstance(cells, tuple) else (cells, cells)
    down, across = min(down, size), min(across, size)
    grid = rng.standard_normal((int(down) + 5, int(across) + 5), dtype=np.float32)
    left, top = rng.uniform(1, 2, size=2)
    return resize(grid, size, (left, top, left + across, top + down)) * 1.4


def fractal_noise(rng: np.random.Generator, size: int, cells: float, octaves: int = 4, decay: float = 0.55) -> Array:
    """Sum of smooth noises of doubling frequency and decaying amplitude, zero mean and unit variance."""
    field = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        field += decay**octave * smooth_noise(rng, size, cells * 2**octave)
    return (field - field.mean()) / (field.std() + 1e-6)


def streaks(rng: np.random.Generator, size: int, angle: float, fineness: float, length: float) -> Array:
    """Noise drawn out along `angle`: `fineness` streaks across the picture, each `length` of it long."""
    larger = int(size * 1.45)
    field = smooth_noise(rng, larger, (fineness * 1.45, 1.45 / length))
    turned = np.asarray(Image.fromarray(field).rotate(-np.degrees(angle), Image.Resampling.BILINEAR))
    margin = (larger - size) // 2
    return turned[margin : margin + size, margin : margin + size]


def cells(rng: np.random.Generator, size: int, count: float, jitter: float = 1.0) -> tuple[Array, Array, Numbers]:
    """Voronoi cells of a jittered grid of `count` x `count` points.

    Returns:
        Distance to the nearest point, distance to the border (both in cell widths), and the number of the cell.
    """
    steps = np.arange(-1, int(count) + 2, dtype=np.float32)
    across, down = np.meshgrid(steps, steps)
    points = np.stack([across.ravel(), down.ravel()], axis=1)
    points += 0.5 + jitter * rng.uniform(-0.5, 0.5, size=points.shape)
    x, y = coordinates(size)
    pixels = np.stack(np.broadcast_arrays((x + 0.5) * count, (y + 0.5) * count), axis=-1)
    distance, number = cKDTree(points).query(pixels, k=2)
    distance = distance.astype(np.float32)
    return distance[..., 0], (distance[..., 1] - distance[..., 0]) / 2, number[..., 0]


def relief(height: Array, angle: float, strength: float) -> Array:
    """Brightness (about 1) of a height field, in picture widths, lit from the direction `angle`."""
    size = height.shape[0]
    down, across = np.gradient(height)
    slope = (np.cos(angle) * across + np.sin(angle) * down) * size * strength
    return (1 + np.tanh(slope) * 0.6).astype(np.float32)


def blur(field: Array, sigma: float) -> Array:
    """Gaussian blur over the first two axes; `sigma` in pixels."""
    sigmas = (sigma, sigma, 0) if field.ndim == 3 else (sigma, sigma)
    return ndimage.gaussian_filter(field, sigmas, truncate=3)


def step(field: Array, edge: float, width: float) -> Array:
    """Smooth step from 0 below `edge` to 1 above it over `width`."""
    t = np.clip((field - edge) / max(width, 1e-6) + 0.5, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def colour(
    rng: np.random.Generator,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.0, 0.8),
    value: tuple[float, float] = (0.2, 0.9),
) -> Array:
    """A random colour (3,) within ranges of hue, saturation and value."""
    picked = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(picked, dtype=np.float32)


def mix(first: Array, second: Array, amount: Array) -> Array:
    """Blend two colours (3,) or pictures by a field in [0, 1]."""
    amount = amount[..., None]
    return first * (1 - amount) + second * amount
