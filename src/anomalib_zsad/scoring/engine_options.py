"""Which engine runs a model, and how exactly it computes; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Engine = Literal["torch", "openvino", "onnxruntime"]
Precision = Literal["float32", "bfloat16", "int8"]

# What computes in which precision; onnxruntime's kernels for the CPU know no bfloat16.
_COMPUTES: dict[str, tuple[str, ...]] = {
    "float32": ("torch", "openvino", "onnxruntime"),
    "bfloat16": ("torch", "openvino"),
    "int8": ("openvino",),
}


@dataclass(frozen=True)
class EngineOptions:
    """How a model's answers are computed.

    Attributes:
        engine: `torch`, or one that runs an export of the model on the CPU: `openvino` or `onnxruntime`, which need the
            extra `export`. At float32 all answer alike (scores within 1e-4, maps within 1e-3).
        precision: In what is computed. `bfloat16` takes half the memory and on processors that have it less time;
            `openvino` refuses it on others. `int8` (OpenVINO) needs pictures to choose its scales by, and the extra
            `int8`.
        int8_images: Folder of normal pictures of the kind that is scored later, for `int8`.
        engine_cache: Folder for models made for an engine; `None` for `engines` in the user's cache folder
            (`ANOMALIB_ZSAD_CACHE`, else `XDG_CACHE_HOME/anomalib-zsad`, else `~/.cache/anomalib-zsad`).

    Raises:
        ValueError: If the engine does not compute in that precision, or pictures are given or missing.
    """

    engine: Engine = "torch"
    precision: Precision = "float32"
    int8_images: Path | None = None
    engine_cache: Path | None = None

    def __post_init__(self) -> None:
        able = _COMPUTES[self.precision]
        if self.engine not in able:
            raise ValueError(
                f"{self.engine} does not compute in {self.precision} here; {' and '.join(able)} "
                f"{'do' if len(able) > 1 else 'does'}"
            )
        if self.precision == "int8" and self.int8_images is None:
            raise ValueError(
                "int8 needs pictures to choose its scales by: give --int8-images (int8_images), a folder of normal "
                "pictures of the kind that is scored later"
            )
        if self.precision != "int8" and self.int8_images is not None:
            raise ValueError(f"pictures for int8 were given, and the precision is {self.precision}")
        if self.engine == "torch" and self.engine_cache is not None:
            raise ValueError("a cache for engines was given, and torch keeps nothing there")

    @property
    def is_plain(self) -> bool:
        """Whether the model runs as it was built: by torch, in float32."""
        return self.engine == "torch" and self.precision == "float32"


PLAIN = EngineOptions()
"""By torch, in float32."""
