"""A model file, loaded by its engine: prepared images in, answers by name out."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

INPUT = "input"
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


class Runtime(Protocol):
    """A loaded model."""

    def __call__(
        self, images: NDArray[np.float32], class_index: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Answers by name: `pred_score`, `anomaly_map`, and of models made for engines `score_std`, `map_std`.

        Args:
            images: Prepared images (n, 3, side, side), or those of any size that an export takes.
            class_index: Which class each shows, (n,), of an export that knows several.
        """
        ...


def load(path: Path, engine: str, precision: str = "float32") -> Runtime:
    """Load a model file, to run on as many threads as torch does.

    Args:
        path: What `graph_of` made.
        engine: `openvino` or `onnxruntime`.
        precision: What it computes in; int8 is in the file, and what is not quantised there is computed in float32.

    Raises:
        ValueError: If the engine cannot read it.
    """
    try:
        return OnnxRuntime(path) if engine == "onnxruntime" else OpenVINORuntime(path, precision)
    except Exception as error:  # each engine has errors of its own
        raise ValueError(
            f"{engine} cannot load {path}: the file is damaged; remove its folder, and it is made again ({error})"
        ) from error


class OpenVINORuntime:
    """OpenVINO on the CPU; see `load`."""

    def __init__(self, path: Path, precision: str) -> None:
        import openvino

        # Unless it is told otherwise, OpenVINO computes in bfloat16 where the processor can.
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        self._compiled: Any = core.compile_model(core.read_model(path), "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._names = [output.any_name for output in self._compiled.outputs]

    def __call__(
        self, images: NDArray[np.float32], class_index: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """See `Runtime`."""
        answer = self._request.infer(_inputs(images, class_index))
        # The engine's own memory, which the next answer overwrites: what is kept is a copy.
        return {name: np.array(answer[name], np.float32) for name in self._names}


class OnnxRuntime:
    """onnxruntime on the CPU; see `load`."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(
        self, images: NDArray[np.float32], class_index: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """See `Runtime`."""
        return dict(zip(self._names, self._session.run(self._names, _inputs(images, class_index)), strict=True))


def _inputs(images: NDArray[np.float32], class_index: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    return {INPUT: images} | ({} if class_index is None else {"class_index": class_index})
