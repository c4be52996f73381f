"""Sections through bodies that nobody has: an outline, shells, tissue, paired structures, as CT or MR shows them.

Everything is drawn generically and widely, and apart from `phantoms.py`, whose heads pretraining never sees: heads,
abdomens, chests and limbs of random proportions, in window-like contrasts, from middle sections to the end of an organ.

A section is a `Scene` whose `area` is the organ in which a lesion may lie.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalib_zsad.demo.drawing.fields import Array, blur, coordinates, fractal_noise, resize, smooth_noise, step
from anomalib_zsad.demo.drawing.materials import TAU, Random
from anomalib_zsad.demo.drawing.scene import Light, Scene

ORGANS = ("brain", "head", "abdomen", "liver", "chest", "limb")
"""Names in captions of what sections show."""


@dataclass(frozen=True)
class Modality:
    """How a scanner shows tissue: values in [0, 1] of each kind of it.

    Attributes:
        ct: Whether it is CT, with bright bone and flat noise; otherwise MR, with shading and dark bone.
        tissue: Of the organ's bulk.
        rim: Of its outer layer (cortex, organ border).
        fluid: Of cavities.
        bone: Of shells and spines.
        fat: Of what lies under the skin.
    """

    ct: bool
    tissue: float
    rim: float
    fluid: float
    bone: float
    fat: float


def draw_modality(rng: Random) -> Modality:
    """A random contrast: a CT window of soft tissue, or one of the weightings of MR."""
    tissue = rng.uniform(0.25, 0.65)
    if rng.random() < 0.45:
        return Modality(
            ct=True,
            tissue=tissue,
            rim=tissue + rng.uniform(-0.02, 0.14),
            fluid=max(tissue - rng.uniform(0.1, 0.4), 0.0),
            bone=rng.uniform(0.9, 1.3),
            fat=max(tissue - rng.uniform(0.2, 0.7), 0.0),
        )
    return Modality(
        ct=False,
        tissue=tissue,
        rim=float(np.clip(tissue + rng.choice([-1, 1, 1]) * rng.uniform(0.02, 0.28), 0.1, 0.9)),
        fluid=float(rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.02, 0.2), rng.uniform(0.75, 1.0)])),
        bone=rng.uniform(0.0, 0.12),
        fat=rng.uniform(0.4, 1.0),
    )


@dataclass(frozen=True)
class _Plane:
    """Coordinates (size, size) in picture widths from the body's middle, and slow noise that deforms all outlines."""

    x: Array
    y: Array
    bend: Array

    def ellipse(self, x: float, y: float, across: float, down: float, turn: float = 0.0, rough: float = 1.0) -> Array:
        """Signed distance to an irregular ellipse in picture widths, about; negative inside."""
        cosine, sine = np.cos(turn), np.sin(turn)
        u = (cosine * (self.x - x) + sine * (self.y - y)) / across
        v = (cosine * (self.y - y) - sine * (self.x - x)) / down
        return ((np.hypot(u, v) - 1) * min(across, down) + rough * self.bend * min(across, down)).astype(np.float32)

    def pair(self, rng: Random, x: float, y: float, across: float, down: float, turn: float = 0.0) -> Array:
        """Two mirrored ellipses, as alike as the two sides of a body are."""
        odd = 1 + rng.normal(0, 0.07, 4)
        left = self.ellipse(-x * odd[0], y, across * odd[1], down * odd[2], turn)
        right = self.ellipse(x, y * odd[3], across, down, -turn)
        return np.minimum(left, right)


def section(rng: Random, size: int) -> tuple[str, Scene]:
    """A section without lesion: what it shows, and its scene.

    Args:
        rng: Draws everything.
        size: Width and height in pixels.
    """
    modality = draw_modality(rng)
    name = str(rng.choice(ORGANS, p=(0.44, 0.24, 0.09, 0.07, 0.09, 0.07)))
    # The end of an organ fills little of the picture.
    extent = rng.uniform(0.12, 0.3) if rng.random() < 0.15 else rng.uniform(0.3, 0.5)
    x, y = coordinates(size, rng.normal(0, 0.12), (rng.normal(0, 0.025), rng.normal(0, 0.025)))
    plane = _Plane(x, y, rng.uniform(0.01, 0.05) * smooth_noise(rng, size, rng.uniform(2, 5)))
    picture = np.full((size, size), 0.0, dtype=np.float32)
    draw = _head if name in {"brain", "head"} else _trunk
    picture, organ = draw(rng, plane, modality, extent, picture, name)
    picture = _imaged(rng, picture, modality)
    colour = np.repeat(np.clip(picture, 0, 1)[..., None], 3, axis=-1).astype(np.float32)
    return name, Scene(colour, organ, np.zeros_like(colour))


def _fill(picture: Array, distance: Array, value: float | Array, width: float = 0.006) -> Array:
    """The picture with everything inside a distance field replaced."""
    cover = step(-distance, 0, width)
    return picture * (1 - cover) + value * cover


def _head(
    rng: Random, plane: _Plane, modality: Modality, extent: float, picture: Array, name: str
) -> tuple[Array, NDArray[np.bool_]]:
    """A skull with a brain in it, or a brain whose skull was taken away."""
    size, across = len(picture), extent * rng.uniform(0.76, 0.95)
    brain = plane.ellipse(0, 0, across, extent)
    stripped = name == "brain" and rng.random() < 0.6
    if not stripped:
        thick, gap, scalp = rng.uniform(0.012, 0.05), rng.uniform(0.003, 0.02), rng.uniform(0.008, 0.035)
        outer = brain - gap - thick * (1 + 0.4 * smooth_noise(rng, size, 4))
        picture = _fill(picture, outer - scalp, modality.fat if rng.random() < 0.5 else modality.tissue)
        picture = _fill(picture, outer, modality.bone)
        if not modality.ct:
            picture = _fill(picture, outer + thick * 0.3, modality.fat * rng.uniform(0.2, 1))  # marrow
            picture = _fill(picture, brain - gap - thick * 0.3, modality.bone)
        picture = _fill(picture, brain - gap, modality.fluid)
    picture = _fill(picture, brain, modality.rim)
    picture = _folds(rng, modality, brain, picture, extent)
    picture = _inside_head(rng, plane, modality, brain, picture, extent)
    return picture, brain < -0.01


def _folds(rng: Random, modality: Modality, brain: Array, picture: Array, extent: float) -> Array:
    """White matter whose border runs in folds, and furrows of fluid between these."""
    size = len(picture)
    waves = fractal_noise(rng, size, rng.uniform(6, 16), 2)
    depth = rng.uniform(0.03, 0.12) * extent * 2
    soft = rng.uniform(0.001, 0.015)
    picture = _fill(picture, brain + depth * (1 + rng.uniform(0.3, 0.9) * waves), modality.tissue, soft)
    if rng.random() < 0.65:
        ridge = np.abs(smooth_noise(rng, size, rng.uniform(8, 18)))
        reach = np.clip(1 + brain / (rng.uniform(0.08, 0.25) * extent * 2), 0, 1)
        furrow = step(reach * rng.uniform(0.06, 0.2) - ridge, 0, 0.06) * (brain < 0)
        picture = picture * (1 - furrow) + (0.6 * modality.fluid + 0.4 * modality.rim) * furrow
    return picture


def _inside_head(rng: Random, plane: _Plane, modality: Modality, brain: Array, picture: Array, extent: float) -> Array:
    """Ventricles, nuclei, the midline, calcified spots, orbits or the base of the skull: as many as the level shows."""
    size, level = len(picture), rng.random()
    middle = np.abs(plane.x + 0.006 * smooth_noise(rng, size, 3))
    if rng.random() < 0.7:
        line = np.maximum(middle - rng.uniform(0.002, 0.006), brain)
        value = modality.tissue + rng.uniform(0.05, 0.25) if modality.ct else modality.fluid
        picture = _fill(picture, line, value)
    if level < 0.75:
        if rng.random() < 0.6:
            nuclei = plane.pair(rng, extent * rng.uniform(0.2, 0.32), 0.0, extent * 0.12, extent * 0.22, 0.3)
            picture = _fill(picture, nuclei, modality.rim, 0.02)
        wide, long = extent * rng.uniform(0.03, 0.16), extent * rng.uniform(0.12, 0.4)
        place = extent * rng.uniform(-0.25, 0.15)
        for at, turn in ((place, rng.uniform(-0.5, 0.6)), (place + extent * rng.uniform(0.3, 0.6), -0.6)):
            horns = plane.pair(rng, wide + extent * rng.uniform(0.01, 0.1), at, wide, long * 0.7, turn)
            picture = _fill(picture, np.maximum(horns, brain + 0.02), modality.fluid, 0.012)
        if rng.random() < 0.6:
            third = plane.ellipse(0, place + extent * 0.25, extent * rng.uniform(0.01, 0.04), extent * 0.15)
            picture = _fill(picture, third, modality.fluid)
        if modality.ct and rng.random() < 0.4:
            spots = plane.pair(rng, extent * rng.uniform(0.1, 0.25), extent * 0.35, extent * 0.03, extent * 0.04)
            picture = _fill(picture, spots, min(modality.tissue + rng.uniform(0.2, 0.6), 1.0))
    elif level > 0.9:
        base = plane.pair(
            rng, extent * 0.4, rng.uniform(-0.05, 0.15), extent * 0.35, extent * rng.uniform(0.05, 0.14), 0.6
        )
        picture = _fill(picture, base, modality.bone if modality.ct else 0.0)
        eyes = plane.pair(rng, extent * 0.4, -extent * 0.75, extent * 0.17, extent * 0.17)
        picture = _fill(picture, eyes, modality.fluid if not modality.ct else modality.tissue * 0.7)
    return picture


def _trunk(
    rng: Random, plane: _Plane, modality: Modality, extent: float, picture: Array, name: str
) -> tuple[Array, NDArray[np.bool_]]:
    """A trunk or a limb: skin, fat, muscle, a spine, and organs."""
    across, down = extent, extent * (rng.uniform(0.6, 0.85) if name != "limb" else rng.uniform(0.8, 1.1))
    body = plane.ellipse(0, 0, across, down)
    fat = rng.uniform(0.02, 0.16) * extent
    picture = _fill(picture, body, modality.rim)
    picture = _fill(picture, body + 0.006, modality.fat)
    inner = body + fat
    picture = _fill(picture, inner, modality.tissue * rng.uniform(0.8, 1.1))
    if name == "limb":
        for _ in range(int(rng.integers(1, 3))):
            at = rng.uniform(-0.4, 0.4, 2) * extent
            radius = extent * rng.uniform(0.12, 0.28)
            bone = plane.ellipse(at[0], at[1], radius, radius * rng.uniform(0.8, 1.2))
            picture = _fill(picture, bone, modality.bone)
            picture = _fill(picture, bone + radius * rng.uniform(0.2, 0.6), modality.fat)
        return picture, inner < -0.01
    spine = plane.ellipse(0, down * 0.55, extent * 0.14, extent * 0.13)
    cavity = inner + extent * rng.uniform(0.08, 0.15)
    if name == "chest":
        lungs = plane.pair(rng, extent * 0.42, -0.02, extent * 0.33, down * 0.62)
        lung = np.maximum(lungs, cavity)
        picture = _fill(picture, lung, rng.uniform(0.0, 0.15))
        vessels = step(smooth_noise(rng, len(picture), rng.uniform(20, 40)), 1.3, 0.5) * (lung < 0)
        picture = picture + vessels * rng.uniform(0.1, 0.4)
        organ = lung < -0.008
    else:
        organ = inner < -0.012
        picture, organ = _organs(rng, plane, modality, extent, cavity, picture, organ, name)
    picture = _fill(picture, spine, modality.bone)
    return _fill(picture, spine + extent * 0.05, modality.fat * 0.7 + 0.2), organ & (spine > 0.01)


def _organs(
    rng: Random,
    plane: _Plane,
    modality: Modality,
    extent: float,
    cavity: Array,
    picture: Array,
    organ: NDArray[np.bool_],
    name: str,
) -> tuple[Array, NDArray[np.bool_]]:
    """Liver, kidneys, bowel and round vessels; a lesion lies in the liver if that is what the section shows."""
    bowel = cells_of_bowel(rng, len(picture))
    picture = np.where(cavity < 0, picture * (1 - 0.5 * bowel) + modality.fat * 0.5 * bowel, picture)
    liver = plane.ellipse(-extent * 0.38, -extent * 0.08, extent * 0.5, extent * 0.45, rng.uniform(-0.4, 0.4))
    liver = np.maximum(liver, cavity)
    picture = _fill(picture, liver, modality.tissue + rng.uniform(-0.04, 0.06))
    for _ in range(int(rng.integers(1, 6))):
        at, radius = rng.uniform(-0.5, 0.5, 2) * extent, extent * rng.uniform(0.02, 0.07)
        vessel = plane.ellipse(at[0], at[1], radius, radius * rng.uniform(0.7, 2.5), rng.uniform(0, TAU))
        picture = _fill(picture, np.maximum(vessel, cavity), modality.rim + rng.uniform(0.0, 0.2) * modality.ct)
    kidneys = np.maximum(plane.pair(rng, extent * 0.5, extent * 0.25, extent * 0.14, extent * 0.19, 0.3), cavity)
    picture = _fill(picture, kidneys, modality.rim)
    return picture, (liver < -0.012 if name == "liver" and (liver < -0.012).mean() > 0.01 else organ)


def cells_of_bowel(rng: Random, size: int) -> Array:
    """Loops of bowel: rounded patches with fat between them, in [0, 1]."""
    return step(np.abs(smooth_noise(rng, size, rng.uniform(8, 16))), 0.35, 0.4)


def _imaged(rng: Random, picture: Array, modality: Modality) -> Array:
    """Texture of tissue, the coils' shading, and the scanner's resolution."""
    size = len(picture)
    inside = step(picture, 0.03, 0.04)
    grain = rng.uniform(0, 0.05) * fractal_noise(rng, size, rng.uniform(10, 50), 3)
    picture = picture * (1 + inside * grain)
    if not modality.ct:
        picture = picture * (1 + rng.uniform(0, 0.25) * smooth_noise(rng, size, rng.uniform(1, 2)))
        picture = picture * rng.uniform(0.7, 1.1)
    rows = int(size * rng.uniform(0.35, 1.0))
    if rng.random() < 0.2:  # pixels of the scanner that nobody smoothed
        chosen = (np.arange(size) * rows // size * size + size // 2) // rows
        return picture[chosen][:, chosen]
    if rows < size * 0.9:
        return resize(resize(picture, rows), size)
    return blur(picture, rng.uniform(0, 1.2))


def scanner_noise(rng: Random, size: int) -> Light:
    """Noise of a scanner: grains of a pixel or of several, alike in all colours; now and then streaks."""
    grain = rng.standard_normal((size, size), dtype=np.float32)
    width = rng.uniform(0, 2.0)
    grain = ndimage.gaussian_filter(grain, width) if width > 0.3 else grain
    grain = grain / grain.std() * np.exp(rng.uniform(np.log(0.004), np.log(0.07)))
    if rng.random() < 0.1:
        _, across = coordinates(size, rng.uniform(0, TAU))
        grain = grain + rng.uniform(0.01, 0.04) * np.sin(across * rng.uniform(60, 300))
    gain = np.ones((size, size, 1), dtype=np.float32)
    return Light(gain, np.repeat(grain[..., None], 3, axis=-1).astype(np.float32))
