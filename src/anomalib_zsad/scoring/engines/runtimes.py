"""A model file, loaded by its engine: prepared images in, answers by name out."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.outputs.memory_errors import is_out_of_memory

INPUT = "input"
CACHED = "the file is damaged; remove its folder, and it is made again"
"""What to do about a file of the cache."""
EXPORTED = (
    "the file is damaged, or what lies beside it (its weights: .onnx.data, .bin) is missing; bring it back, or export "
    "the model again"
)
"""What to do about a user's export."""
_HINT = "INFERENCE_PRECISION_HINT"
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


class PrecisionError(ValueError):
    """The processor does not compute in the precision that was asked for."""


class Runtime(Protocol):
    """A loaded model.

    Attributes:
        inputs: Names of what it takes.
    """

    inputs: tuple[str, ...]

    def __call__(
        self, images: NDArray[np.float32], class_index: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Answers by name: `pred_score`, `anomaly_map`, and of models made for engines `score_std`, `map_std`.

        Args:
            images: Prepared images (n, 3, side, side), or those of any size that an export takes.
            class_index: Which class each shows, (n,), of an export that knows several.
        """
        ...


def load(path: Path, engine: str, precision: str = "float32", remedy: str = CACHED) -> Runtime:
    """Load a model file, to run on as many threads as torch does.

    Args:
        path: What `graph_of` made.
        engine: `openvino` or `onnxruntime`.
        precision: What it computes in; int8 is in the file, and what is not quantised there is computed in float32.
        remedy: What is wrong with a file that cannot be read, and what to do: `CACHED` or `EXPORTED`.

    Raises:
        ValueError: If the engine cannot read it, there is not enough memory, or the processor lacks the precision.
    """
    try:
        return OnnxRuntime(path) if engine == "onnxruntime" else OpenVINORuntime(path, precision)
    except PrecisionError:
        raise
    except Exception as error:  # each engine has errors of its own
        if is_out_of_memory(error):
            raise ValueError(
                f"{engine} cannot load {path}: there is not enough memory to load it; the file is not damaged. Free "
                f"memory, or take a machine with more ({error or type(error).__name__})"
            ) from error
        raise ValueError(f"{engine} cannot load {path}: {remedy} ({error})") from error


def check_precision(precision: str) -> None:
    """Make sure that OpenVINO computes in a precision on this processor, before a model is made for it.

    Raises:
        PrecisionError: If it does not; says what it computes in, and what to do.
    """
    import openvino
    from openvino import opset13

    given = opset13.parameter([1], np.float32)
    least = openvino.Model([opset13.relu(given)], [given])
    _check_hint(openvino.Core().compile_model(least, "CPU", {_HINT: _HINTS[precision]}), precision)


def _check_hint(compiled: Any, precision: str) -> None:
    """OpenVINO takes another precision, and says nothing, where the processor lacks the one that is asked for."""
    found = compiled.get_property(_HINT).to_string()
    if found != _HINTS[precision]:
        raise PrecisionError(
            f"OpenVINO computes in {found} on this processor where {precision} was asked for; give --precision "
            f"float32, or --engine torch, which computes in {precision} on every processor"
        )


class OpenVINORuntime:
    """OpenVINO on the CPU; see `load`."""

    def __init__(self, path: Path, precision: str) -> None:
        import openvino

        # Unless it is told otherwise, OpenVINO computes in bfloat16 where the processor can.
        settings = {
            _HINT: _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        self._compiled: Any = core.compile_model(core.read_model(path), "CPU", settings)
        _check_hint(self._compiled, precision)
        self.inputs = tuple(one.any_name for one in self._compiled.inputs)
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
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(
        self, images: NDArray[np.float32], class_index: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """See `Runtime`."""
        return dict(zip(self._names, self._session.run(self._names, _inputs(images, class_index)), strict=True))


def _inputs(images: NDArray[np.float32], class_index: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    return {INPUT: images} | ({} if class_index is None else {"class_index": class_index})
