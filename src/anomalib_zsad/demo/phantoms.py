"""Small phantoms with known lesions: a head CT with a bleed, a brain MR with a lesion, and their lesion-free twins.

They show that the path from files to findings works, and stand in for data that may not be shared. They look enough
like the real thing for windows, planes and geometry to matter; they say nothing about accuracy on patients.

`python -m anomalib_zsad.demo.phantoms OUTPUT` writes the set that is shipped in `sample_data/medical`.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.geometry import Floats

Kind = Literal["head_ct", "brain_mr"]

MODALITIES: dict[Kind, str] = {"head_ct": "CT", "brain_mr": "MR"}
"""The modality of each kind of phantom."""

SAMPLES: tuple[tuple[Kind, str, int], ...] = (("head_ct", "bleed", 7), ("brain_mr", "lesion", 11))
"""The shipped phantoms: their kind, what the one with a lesion is called, and the seed of both twins."""

# (columns, rows, slices), and voxel edges in mm.
_GRIDS = {
    "head_ct": ((128, 128, 14), (1.75, 1.75, 5.0)),
    "brain_mr": ((80, 96, 28), (2.0, 2.0, 4.0)),
}


@dataclass(frozen=True)
class Phantom:
    """A synthetic examination.

    Attributes:
        kind: `head_ct` (Hounsfield units) or `brain_mr` (arbitrary units, 0 outside the head).
        voxels: int16, shape (X, Y, Z).
        mask: Where the lesion is, bool, same shape; all false in a normal phantom.
        affine: Voxel to world (RAS, mm), shape (4, 4).
        seed: What it was made from; a twin with and without lesion has equal seeds.
    """

    kind: Kind
    voxels: NDArray[np.int16]
    mask: NDArray[np.bool_]
    affine: Floats
    seed: int

    @property
    def name(self) -> str:
        """A name that is unique for kind, seed and presence of a lesion."""
        return f"{self.kind}_{'lesion' if self.mask.any() else 'normal'}_{self.seed}"


@dataclass(frozen=True)
class _Field:
    """World coordinates of a grid (mm from the middle of the head) and a random number generator."""

    x: Floats
    y: Floats
    z: Floats
    random: np.random.Generator

    def ellipsoid(self, center: tuple[float, float, float], radii: tuple[float, float, float]) -> Floats:
        """Scaled distance from a centre: 1 on the surface, smaller inside."""
        parts = ((self.x - center[0]) / radii[0], (self.y - center[1]) / radii[1], (self.z - center[2]) / radii[2])
        return np.sqrt(sum(part**2 for part in parts))

    def texture(self, sigma: float) -> Floats:
        """Smooth noise of mean 0 and standard deviation 1; `sigma` in voxels."""
        from scipy.ndimage import gaussian_filter

        noise = gaussian_filter(self.random.standard_normal(self.x.shape), (sigma, sigma, sigma / 2))
        return (noise - noise.mean()) / noise.std()


def make_phantom(kind: Kind, seed: int, *, lesion: bool) -> Phantom:
    """One phantom. The same seed gives the same anatomy and noise, with or without the lesion.

    Args:
        kind: `head_ct` or `brain_mr`.
        seed: Decides sizes, asymmetry, textures, noise, and the lesion's place and shape.
        lesion: Whether to add a bleed (CT) or a bright lesion (MR).

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in _GRIDS:
        raise ValueError(f"unknown kind of phantom {kind!r}; choose {' or '.join(_GRIDS)}")
    shape, spacing = _GRIDS[kind]
    field, affine = _field(shape, spacing, seed)
    draw = _draw_head_ct if kind == "head_ct" else _draw_brain_mr
    voxels, mask = draw(field, lesion=lesion)
    return Phantom(kind, np.rint(voxels).astype(np.int16), mask, affine, seed)


def normal_phantoms(kind: Kind, seeds: Iterable[int]) -> Iterator[Phantom]:
    """Lesion-free phantoms of different people, for calibration."""
    for seed in seeds:
        yield make_phantom(kind, seed, lesion=False)


def _field(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int) -> tuple[_Field, Floats]:
    """Coordinates of a grid stored as LPS (columns to the left, rows to the back, slices to the head)."""
    half = [(length - 1) / 2 * size for length, size in zip(shape, spacing, strict=True)]
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = half[0], half[1], -half[2]
    index = np.indices(shape, np.float64)
    x, y, z = (affine[axis, axis] * index[axis] + affine[axis, 3] for axis in range(3))
    return _Field(x, y, z, np.random.default_rng(seed)), affine


def _head_radii(field: _Field, scale: float) -> tuple[float, float, float]:
    x, y, z = field.random.normal(1.0, 0.03, 3)
    return 74 * x * scale, 90 * y * scale, 80 * z * scale


def _ventricles(field: _Field) -> NDArray[np.bool_]:
    """Two lateral ventricles whose size differs from person to person, and a third between them."""
    size = field.random.normal(1.0, 0.12)
    shift = field.random.normal(0, 1.0)
    left = field.ellipsoid((-10 + shift, 2, 6), (5 * size, 26 * size, 11 * size)) < 1
    right = field.ellipsoid((10 + shift, 2, 6), (5 * size, 26 * size, 11 * size)) < 1
    third = field.ellipsoid((shift, -2, -8), (2.5 * size, 11 * size, 8 * size)) < 1
    return left | right | third


def _blob(field: _Field, radius: float) -> NDArray[np.bool_]:
    """An irregular lesion in the white matter of one side."""
    side = field.random.choice([-1.0, 1.0])
    center = (
        float(side * field.random.uniform(24, 38)),
        float(field.random.uniform(-25, 25)),
        float(field.random.uniform(-10, 16)),
    )
    radii = tuple(float(radius * field.random.uniform(0.8, 1.25)) for _ in range(3))
    surface = field.ellipsoid(center, (radii[0], radii[1], radii[2])) + 0.18 * field.texture(3.0)
    return surface < 1


def _draw_head_ct(field: _Field, *, lesion: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Hounsfield units: air, scalp, skull, grey and white matter, fluid, falx; with a bleed of 62 to 75 HU."""
    radii = _head_radii(field, 1.0)
    distance = field.ellipsoid((0, 0, 0), radii)
    folds = 0.03 * field.texture(3.0)
    voxels = np.full(field.x.shape, -1000.0)
    voxels[distance < 1.09] = 45
    voxels[distance < 1.03] = 950
    inner = distance < 0.95
    voxels[inner] = 8
    brain = distance < 0.93 + 0.4 * folds
    voxels[brain] = 37
    white = distance < 0.80 + folds
    voxels[white] = 28
    voxels[inner & (np.abs(field.x + 1.5 * field.texture(8.0)) < 1.2) & (field.z > -5)] = 48
    fluid = _ventricles(field)
    voxels[fluid] = 6
    bleed = _blob(field, 12.0) & brain & ~fluid
    density = 68 + 4 * field.texture(2.0)
    if lesion:
        voxels[bleed] = density[bleed]
    voxels[inner] += 1.5 * field.texture(2.0)[inner]
    voxels += field.random.normal(0, 3.0, voxels.shape)
    return voxels, bleed if lesion else np.zeros_like(bleed)


def _draw_brain_mr(field: _Field, *, lesion: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """A skull-stripped FLAIR-like brain: grey matter above white, dark fluid, bright lesions, a slow bias field."""
    distance = field.ellipsoid((0, 0, 0), _head_radii(field, 0.9))
    folds = 0.05 * field.texture(2.5)
    brain = distance < 0.97 + 0.4 * folds
    voxels = np.zeros(field.x.shape)
    voxels[brain] = 150
    voxels[distance < 0.82 + folds] = 115
    fluid = _ventricles(field)
    voxels[fluid] = 25
    spot = _blob(field, 10.0) & brain & ~fluid
    if lesion:
        voxels[spot] = 215
    voxels *= 1 + 0.08 * field.texture(20.0)
    voxels += field.random.normal(0, 4.0, voxels.shape)
    voxels[~brain] = 0
    return np.clip(voxels, 0, None), spot if lesion else np.zeros_like(spot)


def write_nifti(path: str | Path, array: NDArray, affine: Floats) -> Path:
    """Write an array as NIfTI, reproducibly (no time in the gzip header).

    Args:
        path: Ends in `.nii.gz`.
        array: int16 or uint8 voxels, shape (X, Y, Z).
        affine: Voxel to world (RAS, mm).
    """
    import gzip

    import nibabel

    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))
    return target


def write_phantom(phantom: Phantom, folder: str | Path, name: str | None = None, *, patient: str = "PHANTOM") -> Path:
    """Write a phantom and its mask as `folder/images/NAME` and `folder/masks/NAME.nii.gz`; `patient` is its DICOM ID.

    CT becomes a folder of DICOM files, MR one NIfTI file. This is the plain layout that `VolumeDataModule` reads.

    Returns:
        Where the images are.
    """
    from anomalib_zsad.demo.phantom_dicom import write_dicom_series

    name = name or phantom.name
    root = Path(folder)
    write_nifti(root / "masks" / f"{name}.nii.gz", phantom.mask.astype(np.uint8), phantom.affine)
    if phantom.kind == "brain_mr":
        return write_nifti(root / "images" / f"{name}.nii.gz", phantom.voxels, phantom.affine)
    location = root / "images" / name
    return write_dicom_series(location, phantom.voxels, phantom.affine, seed=phantom.name, patient=patient)


def write_samples(output: str | Path) -> None:
    """Write the shipped set: one phantom of each kind with a lesion, and its lesion-free twin."""
    for kind, word, seed in SAMPLES:
        for name, lesion in ((word, True), ("normal", False)):
            phantom = make_phantom(kind, seed, lesion=lesion)
            write_phantom(phantom, Path(output) / kind, name)


def main(arguments: list[str] | None = None) -> int:
    """Write the shipped set into a new or empty folder."""
    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.phantoms", description=__doc__)
    parser.add_argument("output", type=Path, help="a new or empty folder")
    output: Path = parser.parse_args(arguments).output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        sys.stderr.write(f"{output} exists and is not an empty folder; choose another\n")
        return 2
    write_samples(output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
