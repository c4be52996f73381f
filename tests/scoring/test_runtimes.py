"""What engines say of a file that they cannot load or write, and of a precision that the processor lacks."""

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anomalib_zsad.scoring.engines import runtimes
from anomalib_zsad.scoring.engines.identity import versions_of
from anomalib_zsad.scoring.engines.runtimes import EXPORTED, OpenVINORuntime, check_precision, load


def computes_in_bfloat16(path: Path) -> bool:
    """Whether OpenVINO does on this processor, by what a model says that was compiled for it."""
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    return bool(compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.bf16)


def identity(path: Path) -> Path:
    """A model of OpenVINO that answers what it is given."""
    import openvino
    from openvino import opset13

    given = opset13.parameter([1, 3, 8, 8], np.float32, name="input")
    given.output(0).get_tensor().set_names({"input"})
    answer = opset13.relu(given)
    answer.output(0).get_tensor().set_names({"pred_score"})
    openvino.save_model(openvino.Model([answer], [given]), path)
    return path


# Precision


def test_a_precision_that_the_processor_lacks_is_refused(tmp_path: Path) -> None:
    path = identity(tmp_path / "model.xml")
    check_precision("float32")
    if computes_in_bfloat16(path):
        check_precision("bfloat16")
        load(path, "openvino", "bfloat16")
        return
    for attempt in (lambda: check_precision("bfloat16"), lambda: load(path, "openvino", "bfloat16")):
        with pytest.raises(
            ValueError, match="computes in f32 on this processor where bfloat16 was asked for"
        ) as caught:
            attempt()
        assert "give --precision float32, or --engine torch" in str(caught.value)
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("answered", ["f32", "f16"])
def test_what_a_compiled_model_says_of_its_precision_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: str
) -> None:
    """On every processor: what the compiled model reports is put in OpenVINO's mouth."""
    import openvino

    compiled = SimpleNamespace(get_property=lambda _: SimpleNamespace(to_string=lambda: answered))
    fake = SimpleNamespace(read_model=lambda _: None, compile_model=lambda *_: compiled)
    monkeypatch.setattr(openvino, "Core", lambda: fake)
    with pytest.raises(ValueError, match=f"computes in {answered} on this processor where bfloat16 was asked for"):
        OpenVINORuntime(tmp_path / "model.xml", "bfloat16")


# Loading


def test_who_supplies_the_file_says_what_to_do(tmp_path: Path) -> None:
    for name, engine in (("model.onnx", "onnxruntime"), ("model.xml", "openvino")):
        (tmp_path / name).write_bytes(b"\xff nothing")
        with pytest.raises(ValueError, match=rf"{engine} cannot load .* remove its folder, and it is made again"):
            load(tmp_path / name, engine)
        with pytest.raises(
            ValueError, match=r"or what lies beside it .* is missing; bring it back, or export"
        ) as caught:
            load(tmp_path / name, engine, remedy=EXPORTED)
        assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Load model from model.onnx failed:std::bad_alloc"),
        RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 268435456 bytes of memory"),
        RuntimeError("Can not create file mapping for 7, err=Cannot allocate memory"),
    ],
)
def test_full_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(runtimes, "OnnxRuntime", fail)
    with pytest.raises(ValueError, match="there is not enough memory to load it; the file is not damaged") as caught:
        load(tmp_path / "model.onnx", "onnxruntime")
    assert "remove" not in str(caught.value)


# Versions


def test_the_version_is_the_modules_where_no_package_of_its_name_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with onnxruntime-gpu, whose module is `onnxruntime`."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="1.99.0"))
    assert versions_of("onnxruntime") == {"onnxruntime": "1.99.0"}
