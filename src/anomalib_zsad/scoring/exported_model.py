"""An export of a model, run in Python: whole pictures, or tiles of large ones."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_zsad.models.components.export_metadata import read_metadata
from anomalib_zsad.models.components.tiled_model import TiledModel, WorkingSize
from anomalib_zsad.scoring.engines.graphs import check_installed
from anomalib_zsad.scoring.engines.runtimes import EXPORTED, Runtime, load
from anomalib_zsad.scoring.tile_options import TileOptions

_ENGINES = {".onnx": "onnxruntime", ".xml": "openvino"}


class ExportedAnswer(NamedTuple):
    """What an export says of one picture.

    Attributes:
        score: In [0, 1].
        anomaly_map: In [0, 1], float32 (rows, columns): at the model's size, or of tiles at that of the picture as its
            tiles were seen.
        abnormal: Whether the score reaches the export's threshold; `None` where it has none, and of tiles, whose scores
            are higher than those of whole pictures that thresholds are made for.
    """

    score: float
    anomaly_map: Tensor
    abnormal: bool | None


class ExportedModel:
    """Runs an export to ONNX (by onnxruntime) or OpenVINO, in float32, on the CPU.

    Args:
        path: A `.onnx` or `.xml` file of `anomalib-zsad export`, which takes images of any size.
        tile_size: Side in pixels of windows that pictures are scored by; `None` for whole pictures.
        tile_overlap: Share of a window that neighbours have in common.
        tile_batch: Windows scored at a time.

    Attributes:
        metadata: What the export says of itself.

    Raises:
        FileNotFoundError: There is no such file.
        MissingExtraError: What runs it is not installed.
        ValueError: The file is no export of this package, or a number makes no sense.

    Example:
        >>> model = ExportedModel("exported/weights/onnx/model.onnx", tile_size=518)  # doctest: +SKIP
        >>> answer = model(read_image("sheet.png"))  # doctest: +SKIP
    """

    def __init__(
        self, path: Path | str, tile_size: int | None = None, tile_overlap: float = 0.25, tile_batch: int = 8
    ) -> None:
        self.metadata = read_metadata(path)
        engine = _ENGINES[Path(path).suffix]
        check_installed(engine)
        options = TileOptions(tile_size, tile_overlap, tile_batch)
        self._model = _Exported(load(Path(path), engine, remedy=EXPORTED), self.metadata["class_names"])
        self._tiles: TiledModel | None = None
        self._working: WorkingSize | None = None
        if options.tiles is not None:
            self._working = WorkingSize(options.tiles, self.metadata["image_size"])
            self._tiles = TiledModel(
                self._model, lambda images: images, self._working.window, options.tile_overlap, options.tile_batch
            )

    def __call__(self, image: Tensor, class_name: str | None = None) -> ExportedAnswer:
        """Score a picture.

        Args:
            image: (3, h, w) in [0, 1], of any size, as `read_image` gives it.
            class_name: What it shows, where the export knows several.

        Raises:
            ValueError: The export knows no such class.
        """
        picture = image.as_subclass(Tensor)[None]
        if self._tiles is not None and self._working is not None:
            tiled = self._tiles(self._working(picture), class_name)
            maps: Any = tiled.anomaly_map
            return ExportedAnswer(float(tiled.pred_score), maps[0, 0], None)
        whole = self._model(picture, class_name)
        return ExportedAnswer(float(whole.pred_score), whole.anomaly_map[0, 0], self._judged(float(whole.pred_score)))

    def _judged(self, score: float) -> bool | None:
        thresholds = self.metadata["thresholds"]
        if thresholds is None:
            return None
        reached, threshold = np.float32(score), np.float32(thresholds["image"])
        return bool(reached >= threshold if thresholds["abnormal"] == "at or above" else reached > threshold)


class _Answer(NamedTuple):
    """Scores (n,) and maps (n, 1, side, side); an export has no deviations."""

    pred_score: Tensor
    anomaly_map: Tensor
    score_std: None = None
    map_std: None = None


class _Exported(nn.Module):
    """The export in a torch model's place."""

    def __init__(self, runtime: Runtime, class_names: list[str]) -> None:
        super().__init__()
        self._runtime, self._names = runtime, class_names

    def forward(self, images: Tensor, class_names: Any = None) -> _Answer:
        """Answers for images (n, 3, h, w) in [0, 1]."""
        name = class_names if isinstance(class_names, str) or class_names is None else class_names[0]
        if name is not None and name not in self._names:
            raise ValueError(f"the export knows no class {name!r}; it knows {', '.join(self._names)}")
        if name is None and len(self._names) > 1:
            raise ValueError(f"the export knows several classes; say which: {', '.join(self._names)}")
        place = 0 if name is None else self._names.index(name)
        # A list of one name makes an export that asks for the index, and one name alone makes one without.
        index = np.full(len(images), place, np.int64) if "class_index" in self._runtime.inputs else None
        answer = self._runtime(np.ascontiguousarray(images.float().numpy()), index)
        return _Answer(torch.from_numpy(answer["pred_score"]), torch.from_numpy(answer["anomaly_map"]))
