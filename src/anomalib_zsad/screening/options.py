"""How a volume is screened, and which of it decides scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.fingerprint import compared, flatten
from anomalib_zsad.pages.niivue_library import niivue_library
from anomalib_zsad.units.parts import Part
from anomalib_zsad.volumes.options import Channels, MapType, Plane, ReadingOptions, check_window

OutputType = Literal["nifti", "dicom_seg", "parametric_map", "structured_report", "secondary_capture", "pdf"]

Viewer = Literal["page", "niivue"]


@dataclass(frozen=True)
class VolumeOptions:
    """How a volume is screened.

    Attributes:
        output_types: Which results to write. All but `nifti` are DICOM objects, which are written where the source is
            DICOM and can be referred to.
        map_type: How NIfTI files store maps: as whole numbers with a scale (`int16` is off by less than 2e-5, `uint8`
            by less than 2e-3), or as `float32`. Decisions, masks and regions are made before values are rounded.
        plane, channels, crop: Of `SliceStack`.
        window: Of `choose_window`.
        top_k: The volume's score is the mean of this many highest slice scores.
        previews: How many pictures of top slices to write.
        batch_size: Slices per batch.
        score_blank: Let the model score blank slices too.
        std_map: Write the map of standard deviations as well.
        pages: Write report.html.
        viewer: What shows a series: `page`, which is report.html; `niivue` adds viewer.html, the volume in 3D.

    Raises:
        ValueError: If a value makes no sense.
        FileNotFoundError: If the library of the viewer is not there; says how to get it.
    """

    output_types: tuple[OutputType, ...] = ("nifti", "dicom_seg")
    map_type: MapType = "int16"
    plane: Plane = "native"
    channels: Channels = "repeat"
    crop: bool = False
    window: str = "auto"
    top_k: int = 5
    previews: int = 5
    batch_size: int = 8
    score_blank: bool = False
    std_map: bool = False
    pages: bool = True
    viewer: Viewer = "page"

    def __post_init__(self) -> None:
        check_window(self.window)
        if self.batch_size < 1 or self.top_k < 1 or self.previews < 0:
            raise ValueError("batch size and top-k are at least 1, the number of previews at least 0")
        if self.viewer == "niivue":
            if not self.pages:
                raise ValueError("--viewer niivue writes a page: leave out --no-pages")
            niivue_library()  # whose lack would else be found when the first series is written
        unknown = set(self.output_types) - set(get_args(OutputType))
        if unknown or not self.output_types:
            known = ", ".join(get_args(OutputType))
            raise ValueError(f"output types are {known}, not {', '.join(sorted(unknown)) or 'nothing'}")

    def check_scale(self) -> None:
        """Refuse results that hold values in [0, 1] alone, for a model whose scores are on a scale of its own.

        Raises:
            ValueError: If one is asked for; says what keeps any scale.
        """
        others = [kind for kind in self.output_types if kind not in ("nifti", "dicom_seg")]
        if others:
            raise ValueError(
                f"{', '.join(others)}: these hold scores in [0, 1], and this model's are on a scale of its own; give "
                "--output-type nifti dicom_seg"
            )
        if "nifti" in self.output_types and self.map_type != "float32":
            raise ValueError(
                f"maps of {self.map_type} hold values in [0, 1], and this model's are on a scale of its own; give "
                "--map-type float32"
            )
        if self.viewer == "niivue":
            raise ValueError("--viewer niivue shows scores in [0, 1], and this model's are on a scale of its own")


@dataclass(frozen=True)
class ScreeningOptions:
    """A screening run.

    Attributes:
        reading: How inputs are read.
        volume: How volumes are screened.
        rule: How scores become decisions.
        series: Pseudonyms of the series or volumes to screen; empty for all.
        resume: Go on with an interrupted run in the same output folder.
        source_names: Put file names (which may hold patient data) into the summary.
        progress: Show progress bars where standard error is a terminal.
        num_parts: How many parts the series are divided into, by their names alone.
        part_id: Which of the parts to screen, from 0.
    """

    reading: ReadingOptions = field(default_factory=ReadingOptions)
    volume: VolumeOptions = field(default_factory=VolumeOptions)
    rule: DecisionRule = field(default_factory=lambda: DecisionRule("volumes"))
    series: tuple[str, ...] = ()
    resume: bool = False
    source_names: bool = False
    progress: bool = True
    num_parts: int = 1
    part_id: int = 0

    def __post_init__(self) -> None:
        _ = self.part  # which refuses what makes no sense

    @property
    def part(self) -> Part:
        """The part to screen."""
        return Part(self.part_id, self.num_parts)


def volume_fingerprint(
    description: Mapping[str, Any], options: VolumeOptions, mode: Literal["volume", "2d"] = "volume"
) -> dict[str, Any]:
    """Fingerprint of what scores volumes.

    Args:
        description: What the scorer says of itself (`SliceScorer.describe`).
        options: How volumes are screened.
        mode: How they are read.
    """
    screening = {
        "mode": mode,
        "plane": options.plane,
        "channels": options.channels,
        "crop": options.crop,
        "window": options.window,
        "top_k": options.top_k,
        "score_blank": options.score_blank,
    }
    return flatten({"model": compared(description), "screening": screening})
