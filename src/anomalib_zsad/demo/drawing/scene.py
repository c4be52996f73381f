"""Pictures as a camera would take them: a product, its background, and the light."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.demo.drawing import defects
from anomalib_zsad.demo.drawing.fields import Array, blur, colour, coordinates, mix, smooth_noise, step
from anomalib_zsad.demo.drawing.materials import Draw, Random
from anomalib_zsad.demo.drawing.objects import Outline, shade_body


@dataclass(frozen=True)
class Scene:
    """A product without flaw: picture and background (H, W, 3) in [0, 1], and where the product is (H, W)."""

    picture: Array
    area: NDArray[np.bool_]
    behind: Array


@dataclass(frozen=True)
class Light:
    """Brightness (H, W, 1) by which a picture is multiplied and sensor noise (H, W, 3) that is added."""

    gain: Array
    noise: Array

    def photograph(self, picture: Array) -> NDArray[np.uint8]:
        """8-bit picture (H, W, 3); pixel by pixel, so that equal pixels stay equal."""
        return (np.clip(picture * self.gain + self.noise, 0, 1) * 255 + 0.5).astype(np.uint8)


def light(rng: Random, size: int, strength: float = 1.0) -> Light:
    """Uneven illumination, exposure and sensor noise."""
    x, y = coordinates(size, rng.uniform(0, 2 * np.pi))
    uneven = rng.uniform(-0.3, 0.3) * x - rng.uniform(-0.1, 0.3) * (x * x + y * y) + 0.02 * smooth_noise(rng, size, 2)
    gain = rng.uniform(0.88, 1.1) * (1 + strength * uneven)
    noise = rng.standard_normal((size, size, 3), dtype=np.float32) * np.float32(rng.uniform(0.002, 0.015))
    return Light(gain.astype(np.float32)[..., None], noise)


def surface(material: Draw, style: Random, instance: Random, size: int) -> Scene:
    """A material that fills the picture."""
    picture = np.clip(blur(material(style, instance, size), 0.002 * size), 0, 1).astype(np.float32)
    return Scene(picture, np.ones((size, size), dtype=bool), np.zeros_like(picture))


def background(style: Random, instance: Random, size: int) -> Array:
    """A plain table or conveyor belt with faint mottling."""
    base = colour(style, saturation=(0, 0.3), value=(0.03, 0.95))
    mottle = style.uniform(0, 0.04) * smooth_noise(instance, size, style.uniform(3, 60))
    return base * (1 + mottle[..., None])


def body(outline: Outline, material: Draw, style: Random, instance: Random, size: int, turn: float = np.pi) -> Scene:
    """An object of a material on a background.

    Args:
        outline: the object's form.
        material: what it is made of.
        style: what all pieces share.
        instance: how this piece lies (moved a little, turned by up to `turn` radians) and its grain.
        size: width and height of the picture in pixels.
        turn: largest turn in radians.
    """
    behind = np.clip(background(style, instance, size), 0, 1)
    radius = style.uniform(0.33, 0.44) * instance.uniform(0.97, 1.03)
    centre = (instance.uniform(-0.03, 0.03), instance.uniform(-0.03, 0.03))
    x, y = coordinates(size, instance.uniform(-turn, turn), centre)
    distance = (outline(style, x / radius, y / radius) * radius).astype(np.float32)
    cover = step(-distance, 0, 2 / size)
    fill = material(style, instance, size)
    shading = shade_body(distance, style.uniform(0.02, 0.12), style.uniform(0, 2 * np.pi), style.uniform(0.1, 0.45))
    shift = int(0.02 * size)
    shadow = blur(np.roll(cover, (shift, shift), axis=(0, 1)), 0.02 * size) * style.uniform(0, 0.5)
    behind = behind * (1 - shadow[..., None])
    picture = np.clip(mix(behind, fill * shading[..., None], cover), 0, 1).astype(np.float32)
    return Scene(blur(picture, 0.0015 * size), cover > 0.5, behind.astype(np.float32))


def panel(outline: Outline, fills: tuple[Draw, Draw], style: Random, instance: Random, size: int) -> Scene:
    """A surface that carries a regular array of small objects; the whole picture is the product.

    Args:
        outline: the small objects' form.
        fills: materials of the surface and of the objects.
        style: what all pieces share.
        instance: how this piece lies and its grain.
        size: width and height of the picture in pixels.
    """
    ground, filling = (fill(style, instance, size) for fill in fills)
    count, turn = style.uniform(1.6, 4), style.uniform(0, 2 * np.pi)
    x, y = coordinates(size, instance.uniform(-0.05, 0.05))
    u, v = ((axis + instance.uniform()) * count % 1 - 0.5 for axis in (x, y))
    radius = style.uniform(0.2, 0.4)
    cosine, sine = np.cos(turn) / radius, np.sin(turn) / radius
    distance = outline(style, cosine * u + sine * v, cosine * v - sine * u) * radius / count
    cover = step(-distance.astype(np.float32), 0, 2 / size)
    shading = shade_body(distance, style.uniform(0.01, 0.05), style.uniform(0, 2 * np.pi), style.uniform(0.1, 0.45))
    picture = np.clip(mix(ground, filling * shading[..., None], cover), 0, 1).astype(np.float32)
    return Scene(blur(picture, 0.0015 * size), np.ones((size, size), dtype=bool), np.zeros_like(picture))


def damage(
    scene: Scene, kind: str, rng: Random, size: float = 1.0, kinds: Mapping[str, defects.Kind] = defects.KINDS
) -> defects.Damage:
    """Damage the product of a scene; see `defects.apply`."""
    return defects.apply(kind, rng, scene.picture, scene.area, scene.behind, size, kinds)
