"""Export to torch, ONNX and OpenVINO: the answers of the eager path, with all that is needed to use them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from anomalib_zsad.outputs.disk_errors import writes_of_libraries
from anomalib_zsad.outputs.extras import require
from anomalib_zsad.outputs.telemetry import without_telemetry

from .export_graph import ExportGraph
from .export_metadata import KEY, checked_names, export_metadata
from .onnx_file import write_onnx

# Arguments of a module that may be paths.
_PATHS = ("backbone", "pretrained", "checkpoint", "calibration", "keep_features_folder")


class Exports:
    """Exports of a Lightning module; what mixes it in is an `AnomalibModule` with `model` and `calibration`."""

    model: Any
    class_name: str | None

    def to_torch(self, export_root: Path | str, model_file_name: str = "model", class_name: str | None = None) -> Path:
        """Write the module for anomalib's `TorchInferencer`, metadata beside it.

        The file is a pickle, as anomalib's is, and a dictionary: `model`, and the metadata as `anomalib_zsad`; it tells
        no folders of this machine. The model takes other class names when it is called: `model(images, ["bolt",
        "nut"])`.

        Args:
            export_root: Folder; the file goes to `weights/torch` in it.
            model_file_name: Name of the file, without its ending.
            class_name: What images show; `None` for the module's own.

        Returns:
            The file.

        Raises:
            CalibrationMismatchError: The calibration does not fit the model or the class name.
            OSError: The file cannot be written.
        """
        names = self._prepare_export(class_name, None)
        folder = _folder(export_root, "torch")
        path = folder / f"{model_file_name}.pt"
        metadata = export_metadata(self, names)
        with _named(self, names[0]), _without_this_machine(self):
            save_torch({"model": self, KEY: metadata}, path)
        return path

    def to_onnx(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        *,
        class_name: str | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Path:
        """Write the model with its pre- and post-processing as ONNX.

        Input `input` (n, 3, height, width), float32 in [0, 1]. Outputs `pred_score` (n,), `pred_label` (n,),
        `anomaly_map` and `pred_mask` (n, 1, side, side) at the model's size. The metadata are JSON under
        `anomalib_zsad`.

        Args:
            export_root: Folder; the file goes to `weights/onnx` in it.
            model_file_name: Name of the file, without its ending; weights of more than 1 GB stand in a second file.
            input_size: Height and width of the only input that is taken; `None` for any.
            class_name: What images show; `None` for the module's own.
            class_names: Several of them: a second input `class_index`, int64 (n,), then says which.
            kwargs: Further arguments of `torch.onnx.export`.

        Returns:
            The file.

        Raises:
            MissingExtraError: onnx or onnxscript is not installed.
            ValueError: Names make no sense.
            CalibrationMismatchError: The calibration does not fit the model or the class name.
        """
        require("export", "an export to ONNX", "onnx", "onnxscript")
        names = self._prepare_export(class_name, class_names)
        path = _folder(export_root, "onnx") / f"{model_file_name}.onnx"
        graph = ExportGraph(self, names).eval()
        metadata = export_metadata(self, names)
        write_onnx(graph, path, metadata, several=class_names is not None, input_size=input_size, **kwargs)
        return path

    def to_openvino(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        *args: Any,
        class_name: str | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Path:
        """Write the model with its pre- and post-processing for OpenVINO, with float32 weights unless told otherwise.

        Inputs, outputs and metadata are those of `to_onnx`. On a processor with bfloat16, OpenVINO computes in bfloat16
        unless it is compiled with `INFERENCE_PRECISION_HINT` `f32`: only then it answers as torch does.

        Args:
            export_root: Folder; the files go to `weights/openvino` in it.
            model_file_name: See `to_onnx`.
            input_size: See `to_onnx`.
            args: As in anomalib: compression and what it needs.
            class_name: See `to_onnx`.
            class_names: See `to_onnx`.
            kwargs: As in anomalib: compression and what it needs.

        Returns:
            The `.xml` file.

        Raises:
            MissingExtraError: A package is not installed.
            ValueError: Names make no sense.
            CalibrationMismatchError: The calibration does not fit the model or the class name.
        """
        require("export", "an export to OpenVINO", "openvino", "onnx", "onnxscript")
        chosen = {"class_name": class_name, "class_names": class_names}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        kwargs["onnx_kwargs"] = {**(kwargs.pop("onnx_kwargs", None) or {}), **chosen}
        with without_telemetry(), writes_of_libraries(Path(export_root)):
            return super().to_openvino(export_root, model_file_name, input_size, *args, **kwargs)  # type: ignore[misc]

    def _prepare_export(self, class_name: str | None, class_names: Sequence[str] | None) -> list[str]:
        """Take a calibration's thresholds along, and settle the names."""
        self.eval()  # type: ignore[attr-defined]
        self.apply_calibration()  # type: ignore[attr-defined]
        return checked_names(self, class_name, class_names)


def _folder(export_root: Path | str, kind: str) -> Path:
    """Where anomalib keeps an export of a kind."""
    folder = Path(export_root) / "weights" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_torch(content: Any, path: Path) -> None:
    """Write a file of torch's.

    Raises:
        OSError: If it cannot be written, which torch says by a `RuntimeError`.
    """
    with path.open("wb") as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


@contextmanager
def _without_this_machine(module: Any) -> Iterator[None]:
    """The module without folders of this machine, and without the checkpoint whose weights it holds already.

    A path would not be unpickled on another system, and folders may name people.
    """
    backbone = module.model.backbone
    known = module.__dict__
    others: dict[str, Any] = {"checkpoint_path": None, "built_from": None, "pretrained": _last(known["pretrained"])}
    for name in ("_hparams", "_hparams_initial"):
        others[name] = type(known[name])({key: _told(key, value) for key, value in known[name].items()})
    before = {name: known[name] for name in others if name in known}
    configuration = backbone.config
    known.update({name: others[name] for name in before})
    backbone.config = replace(configuration, name=_last(configuration.name))
    try:
        yield
    finally:
        known.update(before)
        backbone.config = configuration


def _told(name: str, value: Any) -> Any:
    return _last(value) if name in _PATHS or isinstance(value, Path) else value


def _last(path: Any) -> Any:
    """Of a path the file's name, as text; names of architectures and of weights stay as they are."""
    return Path(path).name if isinstance(path, str | Path) else path


@contextmanager
def _named(module: Any, class_name: str) -> Iterator[None]:
    """The module with another class name of its own."""
    before = module.class_name, module.model.class_name
    module.class_name = module.model.class_name = class_name
    try:
        yield
    finally:
        module.class_name, module.model.class_name = before
