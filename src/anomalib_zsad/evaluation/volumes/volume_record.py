"""What is kept of a scored volume: numbers of bounded size from which all figures are made, in one file."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.results import DamagedRecordError
from anomalib_zsad.evaluation.volumes.candidates import Candidates
from anomalib_zsad.evaluation.volumes.dice import DiceCurve
from anomalib_zsad.evaluation.volumes.lesions import Lesions
from anomalib_zsad.evaluation.volumes.regions import Regions
from anomalib_zsad.outputs.atomic import write_bytes

_FORMAT = 2


@dataclass(frozen=True)
class Slices:
    """Slices of one volume, n of them.

    Attributes:
        index: Along the plane's voxel axis, shape (n,).
        score: Of the model; 0 for blank slices, which it does not see, float32, shape (n,).
        std: Standard deviation of the score over sampled prompts, NaN where there is none, float32, shape (n,).
        abnormal: Whether the mask has a voxel in it, shape (n,).
        blank: Whether it is constant, shape (n,).
    """

    index: NDArray[np.int64]
    score: NDArray[np.float32]
    std: NDArray[np.float32]
    abnormal: NDArray[np.bool_]
    blank: NDArray[np.bool_]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which slices enter figures: all but blank ones without a lesion, on which there is nothing to see."""
        return ~self.blank | self.abnormal


@dataclass(frozen=True)
class Marks:
    """What the map shows from the calibrated threshold on.

    Attributes:
        threshold: Of the level `mask`.
        voxels: At or above it.
        hits: Of these in lesions.
        regions: Connected regions of these.
        false_regions: Of these without a lesion voxel.
    """

    threshold: float
    voxels: int
    hits: int
    regions: int
    false_regions: int


@dataclass(frozen=True)
class VolumeRecord:
    """One scored volume.

    Attributes:
        name, patient: Pseudonyms.
        images: What screening and a calibration know the images by, which is a hash.
        modality, window: For the table; the window by its name.
        score: Mean of the highest slice scores, as screening gives it.
        score_std: Mean of their standard deviations; `None` if the model has none.
        map_max: Highest value of the map.
        slices: Its slices.
        lesions: Its lesions.
        voxel_mm3: Volume of a voxel; `None` where the geometry is not known.
        candidates: Places that the map points to.
        hits: Number of the lesion in which each candidate lies, from 1; 0 for none.
        dice: Summary for Dice; `None` without a lesion.
        pixels: Summary of the slices' pixels for the pixel metrics (`metrics.summary`), shape (rows, 4).
        marks: At the calibrated threshold; `None` without a calibration.
        seconds: Time spent.
        regions: What the map shows, against the lesions: `dynamic`, and `calibrated` with a calibration.
    """

    name: str
    patient: str
    images: str
    modality: str
    window: str
    score: float
    score_std: float | None
    map_max: float
    slices: Slices
    lesions: Lesions
    voxel_mm3: float | None
    candidates: Candidates
    hits: NDArray[np.int64]
    dice: DiceCurve | None
    pixels: NDArray[np.float64]
    marks: Marks | None
    seconds: float
    regions: dict[str, Regions] = field(default_factory=dict)

    @property
    def abnormal(self) -> bool:
        """Whether it has a lesion."""
        return len(self.lesions) > 0

    @property
    def blank(self) -> bool:
        """Whether the model has seen no slice of it."""
        return bool(self.slices.blank.all())

    def save(self, path: Path, decided_by: str) -> None:
        """Keep the record; the file appears whole or not at all.

        Args:
            path: A file ending in `.npz`.
            decided_by: Fingerprint of everything that decides it.
        """
        plain = {
            **{name: getattr(self, name) for name in _PLAIN},
            "complete": self.candidates.complete,
            "regions_complete": {source: regions.complete for source, regions in self.regions.items()},
            "dice_lesion": None if self.dice is None else self.dice.lesion,
            "marks": None if self.marks is None else vars(self.marks),
            "format": _FORMAT,
            "decided_by": decided_by,
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, plain=np.array(json.dumps(plain)), **self._arrays())  # type: ignore[arg-type]
        write_bytes(path, buffer.getvalue())

    def _arrays(self) -> dict[str, NDArray]:
        arrays = {f"slices_{name}": getattr(self.slices, name) for name in _SLICES}
        arrays |= {f"lesions_{name}": getattr(self.lesions, name) for name in _LESIONS}
        arrays |= {"candidates_scores": self.candidates.scores, "candidates_voxels": self.candidates.voxels}
        if self.dice is not None:
            arrays |= {f"dice_{name}": getattr(self.dice, name) for name in _DICE}
        for source, regions in self.regions.items():
            arrays |= {f"regions_{source}_{name}": getattr(regions, name) for name in _REGIONS}
        return {**arrays, "hits": self.hits, "pixels": self.pixels}

    @classmethod
    def load(cls, path: Path) -> tuple[str, "VolumeRecord"]:
        """What decided a stored record, and the record.

        Raises:
            DamagedRecordError: If the file is no such record.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                plain: dict[str, Any] = json.loads(str(stored["plain"]))
                arrays = {name: stored[name] for name in stored.files if name != "plain"}
            if plain["format"] != _FORMAT:
                raise DamagedRecordError(f"{path} has the format {plain['format']}, and this version reads {_FORMAT}")
            return plain["decided_by"], cls._from(plain, arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DamagedRecordError(f"{path} is damaged ({type(error).__name__})") from error

    @classmethod
    def _from(cls, plain: dict[str, Any], arrays: dict[str, NDArray]) -> "VolumeRecord":
        lesion = plain["dice_lesion"]
        return cls(
            **{name: plain[name] for name in _PLAIN},
            slices=Slices(**{name: arrays[f"slices_{name}"] for name in _SLICES}),
            lesions=Lesions(**{name: arrays[f"lesions_{name}"] for name in _LESIONS}),
            candidates=Candidates(arrays["candidates_scores"], arrays["candidates_voxels"], plain["complete"]),
            hits=arrays["hits"],
            dice=None if lesion is None else DiceCurve(**{n: arrays[f"dice_{n}"] for n in _DICE}, lesion=lesion),
            pixels=arrays["pixels"],
            marks=None if plain["marks"] is None else Marks(**plain["marks"]),
            regions={
                source: Regions(**{n: arrays[f"regions_{source}_{n}"] for n in _REGIONS}, complete=complete)
                for source, complete in plain["regions_complete"].items()
            },
        )


_PLAIN = ("name", "patient", "images", "modality", "window", "score", "score_std", "map_max", "voxel_mm3", "seconds")
_SLICES = ("index", "score", "std", "abnormal", "blank")
_LESIONS = ("voxels", "map_max", "scores")
_DICE = ("thresholds", "hits", "others")
_REGIONS = ("scores", "voxels", "shared")
