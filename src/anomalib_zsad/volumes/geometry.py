"""Where slices lie: from DICOM positions to affines.

DICOM's world is LPS (x grows to the patient's left, y to the back, z to the head); everywhere outside this module and
the DICOM reader the world is RAS (x to the right, y to the front), both in mm.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLANE_NORMALS = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class StackGeometry:
    """How planes of one orientation are stacked.

    Attributes:
        order: Indices of the planes, along the normal, shape (n,).
        slots: Slot of each ordered plane on an evenly spaced grid, shape (n,); 0 to n - 1 where none is missing.
        origin: Position of slot 0 (LPS, mm), shape (3,).
        step: From one slot to the next (LPS, mm), shape (3,).
        deviation: Largest distance of a plane from its slot in mm; infinite where no even grid fits.
        tilt_degrees: Angle between the step and the planes' normal.
    """

    order: NDArray[np.intp]
    slots: NDArray[np.intp]
    origin: Floats
    step: Floats
    deviation: float
    tilt_degrees: float

    @property
    def regular(self) -> bool:
        """Whether every plane lies on an evenly spaced grid (some slots of it may be empty)."""
        return math.isfinite(self.deviation)

    @property
    def spacing(self) -> float:
        """Distance between slots in mm."""
        return float(np.linalg.norm(self.step))


def plane_normal(orientation: tuple[float, ...]) -> Floats:
    """Unit normal of a plane from its ImageOrientationPatient (LPS), shape (3,)."""
    cosines = np.asarray(orientation, np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    return normal / np.linalg.norm(normal)


def stack_geometry(positions: Floats, orientation: tuple[float, ...], thickness: float | None) -> StackGeometry:
    """Order planes along their normal and find the grid they lie on.

    Args:
        positions: ImagePositionPatient of each plane (LPS, mm), shape (n, 3); no two at one place.
        orientation: ImageOrientationPatient, six direction cosines.
        thickness: SliceThickness in mm, the step of a single plane; 1 mm where it is `None`.

    Returns:
        The stack. Its `deviation` is infinite where the planes are unevenly spaced by more than 5 % of their spacing.
    """
    normal = plane_normal(orientation)
    distances = positions @ normal
    order = np.argsort(distances, kind="stable")
    positions, distances = positions[order], distances[order]
    count = len(positions)
    if count == 1:
        step = normal * (thickness if thickness and thickness > 0 else 1.0)
        return StackGeometry(order, np.zeros(1, np.intp), positions[0], step, 0.0, 0.0)
    gaps = np.diff(distances)
    for candidate in sorted({float(np.median(gaps)), float(gaps.min())}, reverse=True):
        slots = np.rint((distances - distances[0]) / candidate).astype(np.intp)
        if (np.diff(slots) < 1).any() or slots[-1] + 1 > 2 * count + 8:
            continue
        origin, step = _fit_line(slots, positions)
        deviation = float(np.linalg.norm(positions - (origin + slots[:, None] * step), axis=1).max())
        if deviation <= max(0.05 * abs(float(step @ normal)), 0.01):
            return StackGeometry(order, slots, origin, step, deviation, _angle(step, normal))
    origin, step = _fit_line(np.arange(count), positions)
    return StackGeometry(order, np.arange(count), origin, step, math.inf, _angle(step, normal))


def even_runs(positions: Floats) -> list[slice]:
    """Cut unevenly spaced planes into runs of even spacing (to 1 %, or 0.01 mm), each of which has a true affine.

    Args:
        positions: Ordered positions, shape (n, 3).
    """
    runs: list[slice] = []
    start = 0
    for index in range(1, len(positions) + 1):
        if index < len(positions):
            if index - start < 2:
                continue
            first = positions[start + 1] - positions[start]
            tolerance = max(0.01 * float(np.linalg.norm(first)), 0.01)
            if np.linalg.norm(positions[index] - positions[index - 1] - first) <= tolerance:
                continue
        runs.append(slice(start, index))
        start = index
    return runs


def _fit_line(slots: NDArray[np.intp], positions: Floats) -> tuple[Floats, Floats]:
    """Least-squares origin and step of positions at slots; exact end points where all lie on one line."""
    design = np.stack([np.ones(len(slots)), slots.astype(np.float64)], axis=1)
    origin, step = np.linalg.lstsq(design, positions, rcond=None)[0]
    return origin, step


def _angle(step: Floats, normal: Floats) -> float:
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    return math.degrees(math.acos(min(1.0, cosine)))


def affine_from_dicom(
    origin: Floats, orientation: tuple[float, ...], spacing: tuple[float, float], step: Floats
) -> Floats:
    """Voxel (column, row, slice) to world (RAS, mm), shape (4, 4); PS3.3, C.7.6.2.1.1.

    Args:
        origin: Position of the first voxel of slot 0 (LPS).
        orientation: ImageOrientationPatient.
        spacing: PixelSpacing: between rows, between columns.
        step: From one slice to the next (LPS).
    """
    cosines = np.asarray(orientation, np.float64)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * spacing[1]
    affine[:3, 1] = cosines[3:] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def is_sheared(affine: Floats, tolerance: float = 1e-3) -> bool:
    """Whether two axes of an affine are not perpendicular (cosine above `tolerance`)."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > tolerance)


def is_usable(affine: Floats) -> bool:
    """Whether an affine places voxels at all: within 1 km, edges of 1 nm to 10 m, and no axes in one plane."""
    if not np.isfinite(affine).all() or (np.abs(affine) > 1e6).any():
        return False
    sizes = voxel_sizes(affine)
    if (sizes < 1e-6).any() or (sizes > 1e4).any():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-4)


def anatomical_axes(affine: Floats) -> tuple[int, int, int]:
    """Which voxel axis runs closest to each of right, anterior and superior: (sagittal, coronal, axial) normals.

    The assignment that keeps the largest sum of cosines is taken, so that each axis is used once.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(axes)
    best = max(permutations(range(3)), key=lambda axis: sum(cosines[world, axis[world]] for world in range(3)))
    return best[0], best[1], best[2]


def voxel_sizes(affine: Floats) -> Floats:
    """Lengths of the voxel's edges in mm, shape (3,)."""
    return np.linalg.norm(affine[:3, :3], axis=0)
