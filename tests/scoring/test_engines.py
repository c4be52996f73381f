"""Engines and precisions: the answers of torch, one cache, and calibrations that know what they were made with."""

import csv
import importlib.util
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad.cli import main
from anomalib_zsad.data.image_files import read_image
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.extras import MissingExtraError
from anomalib_zsad.scoring.build import build_model, build_scorer
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.engines.build_engine import check_engine, on_engine
from anomalib_zsad.scoring.engines.cache import default_cache, kept
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE
from tests.scoring.test_runtimes import computes_in_bfloat16, identity

ENGINES = ("openvino", "onnxruntime")
FIELDS = {"pred_score": 1e-4, "score_std": 1e-4, "anomaly_map": 1e-3, "map_std": 1e-3}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_backbone(tmp_path_factory.mktemp("clip"), 20, CLIP)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def arguments_of(method: str, backbone: dict[str, str]) -> dict[str, Any]:
    return {**backbone, "image_size": SIDE, **({"extractor_heads": 4} if method == "CoPS" else {})}


def words_of(method: str, backbone: dict[str, str]) -> list[str]:
    """The same as words of a command line."""
    given = [word for key, value in arguments_of(method, backbone).items() for word in (f"--model.{key}", str(value))]
    return ["--model", method, "--allow-untrained", *given]


def pictures(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        random = np.random.default_rng(seed)
        pixels = random.integers(60, 255, (40 + seed, 90, 3)) * random.uniform(0.4, 1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{seed:03}.png")
    return folder


def batch_of(folder: Path) -> torch.Tensor:
    images = [read_image(path).as_subclass(torch.Tensor) for path in sorted(folder.iterdir())]
    return torch.stack([torch.nn.functional.interpolate(image[None], (75, 101))[0] for image in images])


@pytest.mark.parametrize("method", ["BayesPFL", "CoPS"])
def test_engines_answer_as_torch_does_at_float32(method: str, backbone: Any, cache: Path, tmp_path: Path) -> None:
    batch, arguments = batch_of(pictures(tmp_path / "p", 5)), arguments_of(method, backbone)
    expected = build_scorer(None, method, arguments, "cpu", "metal nut").predict(batch)
    for engine in ENGINES:
        scorer = build_scorer(None, method, arguments, "cpu", "metal nut", EngineOptions(engine, engine_cache=cache))
        answer = scorer.predict(batch)
        for field, bound in FIELDS.items():
            torch.testing.assert_close(getattr(answer, field), getattr(expected, field), atol=bound, rtol=0)
        alone = scorer.predict(batch[2:3])
        torch.testing.assert_close(alone.pred_score, answer.pred_score[2:3], atol=1e-5, rtol=0)
        assert scorer.describe()["engine"].startswith(f"{engine} ")
        assert "precision" not in scorer.describe()


def test_class_names_are_told_apart(backbone: Any, cache: Path, tmp_path: Path) -> None:
    batch, arguments = batch_of(pictures(tmp_path / "p", 3)), arguments_of("BayesPFL", backbone)
    names = ["bolt", "a rather long name of some part", "bolt"]
    expected = build_model(None, "BayesPFL", arguments, "cpu").module
    prepared = expected.pre_processor.transform(batch)
    with torch.no_grad():
        expected = expected.model(prepared, names)
    built = build_model(None, "BayesPFL", arguments, "cpu", EngineOptions("onnxruntime", engine_cache=cache))
    answer = built.module.model(prepared, names)
    torch.testing.assert_close(answer.pred_score, expected.pred_score, atol=1e-5, rtol=0)
    torch.testing.assert_close(answer.anomaly_map, expected.anomaly_map, atol=1e-5, rtol=0)
    built.module.model.settle("bolt")
    with pytest.raises(ValueError, match="the model was made for 'bolt' and not 'nut'"):
        built.module.model(prepared, "nut")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_bfloat16_is_close_and_says_what_it_is(engine: Any, backbone: Any, tmp_path: Path, cache: Path) -> None:
    batch, arguments = batch_of(pictures(tmp_path / "p", 2)), arguments_of("CoPS", backbone)
    expected = build_scorer(None, "CoPS", arguments, "cpu").predict(batch)
    options = EngineOptions(engine, "bfloat16", engine_cache=None if engine == "torch" else cache)
    if engine == "openvino" and not computes_in_bfloat16(identity(tmp_path / "identity.xml")):
        before = sorted(cache.iterdir())
        with pytest.raises(ValueError, match="computes in f32 on this processor where bfloat16 was asked for"):
            build_scorer(None, "CoPS", arguments, "cpu", None, options)
        assert sorted(cache.iterdir()) == before  # no model was made in vain
        return
    scorer = build_scorer(None, "CoPS", arguments, "cpu", None, options)
    answer = scorer(batch)
    torch.testing.assert_close(answer.score, expected.pred_score, atol=0.02, rtol=0)
    assert scorer.describe()["precision"] == f"bfloat16 by {engine}"


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    for given, message in (
        (("onnxruntime", "bfloat16"), "onnxruntime does not compute in bfloat16 here; torch and openvino do"),
        (("torch", "int8", tmp_path), "torch does not compute in int8 here; openvino does"),
        (("openvino", "int8"), "int8 needs pictures to choose its scales by: give --int8-images"),
        (("openvino", "float32", tmp_path), "pictures for int8 were given, and the precision is float32"),
        (("torch", "float32", None, tmp_path), "a cache for engines was given, and torch keeps nothing there"),
    ):
        with pytest.raises(ValueError, match=message):
            EngineOptions(*given)
    with pytest.raises(ValueError, match="WinClip runs by torch in float32 here"):
        on_engine(type("WinClip", (), {"name": "WinClip"})(), EngineOptions("openvino"))
    with pytest.raises(ValueError, match="the engine openvino runs on the CPU here, and not on cuda"):
        check_engine(EngineOptions("openvino"), "cuda")


@pytest.mark.parametrize(
    ("options", "package", "command"),
    [
        (EngineOptions("openvino"), "openvino", r"pip install 'anomalib-zsad\[export\]'"),
        (EngineOptions("onnxruntime"), "onnxruntime", r"pip install 'anomalib-zsad\[export\]'"),
        (EngineOptions("openvino", "int8", Path()), "nncf", r"pip install 'anomalib-zsad\[int8\]'"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch: Any, options: EngineOptions, package: str, command: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else found(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=f"needs {package}, which is not installed: {command}"):
        build_model(None, "CoPS", {"backbone": "demo"}, "cpu", options)


def test_the_cache_is_the_users(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("ANOMALIB_ZSAD_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own" / "engines"
    monkeypatch.delenv("ANOMALIB_ZSAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "anomalib-zsad" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "anomalib-zsad" / "engines"


def _slowly(root: Path, log: Path) -> None:
    import time

    def make(folder: Path) -> None:
        with log.open("a") as stream:
            stream.write("made\n")
        (folder / "first").write_text("1")
        time.sleep(0.5)
        (folder / "second").write_text("2")

    assert {path.name for path in kept(root, "thing", {"a": 1}, make).iterdir()} == {
        "first",
        "second",
        "decided_by.json",
    }


def test_processes_that_want_the_same_make_it_once_and_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_slowly, args=(tmp_path / "c", tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_what_fails_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        kept(tmp_path, "thing", {"a": 1}, fail)
    assert [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_damaged_model_is_named_with_what_to_do(backbone: Any, tmp_path: Path) -> None:
    options, arguments = EngineOptions("onnxruntime", engine_cache=tmp_path), arguments_of("CoPS", backbone)
    build_scorer(None, "CoPS", arguments, "cpu", None, options)
    (model,) = tmp_path.glob("*/model.onnx")
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"onnxruntime cannot load .*remove its folder, and it is made again"):
        build_scorer(None, "CoPS", arguments, "cpu", None, options)


def test_commands_and_calibrations_know_engines(backbone: Any, cache: Path, tmp_path: Path, capsys: Any) -> None:
    """A calibration goes over engines at float32, and over nothing else."""
    normal, seen = pictures(tmp_path / "normal", 20), pictures(tmp_path / "seen", 4, first=30)
    model, kept_there = words_of("CoPS", backbone), ["--engine-cache", str(cache)]
    file = tmp_path / "c.json"
    assert main(["calibrate", "-i", str(normal), "-o", str(file), *model]) == ExitCode.DONE
    scores = {}
    for engine in ("torch", "openvino"):
        out = tmp_path / engine
        words = ["inspect", "-i", str(seen), "-o", str(out), *model, "--calibration", str(file), "--engine", engine]
        assert main([*words, *(kept_there if engine != "torch" else [])]) == ExitCode.DONE
        with (out / "images.csv").open() as stream:
            scores[engine] = {row["image"]: row for row in csv.DictReader(stream)}
    for name, row in scores["torch"].items():
        other = scores["openvino"][name]
        assert other["decision"] == row["decision"]
        assert float(other["score"]) == pytest.approx(float(row["score"]), abs=1e-4)
        assert float(other["score_std"]) == pytest.approx(float(row["score_std"]), abs=1e-4)
        assert float(other["map_max"]) == pytest.approx(float(row["map_max"]), abs=1e-3)
    assert json.loads((tmp_path / "openvino" / "report.json").read_text())["model"]["engine"].startswith("openvino")
    capsys.readouterr()
    words = ["inspect", "-i", str(seen), "-o", str(tmp_path / "b"), *model, "--calibration", str(file)]
    assert main([*words, "--precision", "bfloat16"]) == ExitCode.USAGE
    message = "the calibration does not fit: model.precision was 'float32' and is 'bfloat16 by torch' now"
    assert message in capsys.readouterr().err


def test_a_published_protocol_needs_torch(backbone: Any, tmp_path: Path, capsys: Any) -> None:
    words = ["evaluate", "-i", str(tmp_path), "-o", str(tmp_path / "o"), *words_of("CoPS", backbone)]
    assert main([*words, "--engine", "openvino", "--protocol", "paper"]) == ExitCode.USAGE
    assert "--protocol paper and --seed need --engine torch" in capsys.readouterr().err


@pytest.mark.slow
def test_int8_says_how_far_it_is_and_needs_its_own_calibration(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("nncf")
    normal, cache = pictures(tmp_path / "normal", 20), tmp_path / "cache"
    model = ["--model", "CoPS", "--allow-untrained", "--model.backbone", "demo"]
    model += ["--engine-cache", str(cache), "--engine", "openvino"]
    int8 = ["--precision", "int8", "--int8-images", str(normal)]
    assert main(["calibrate", "-i", str(normal), "-o", str(tmp_path / "c.json"), *model, *int8]) == ExitCode.DONE
    (report,) = cache.glob("int8-*/int8.json")
    told = json.loads(report.read_text())
    assert told["pictures"] == 20
    assert 0 <= told["score_mean_difference"] <= told["score_largest_difference"] < 0.1
    assert told["within_what_is_allowed"] is True
    assert "int8: on the 20 pictures given, scores are within" in capsys.readouterr().err
    for more, code in (([], ExitCode.USAGE), (int8, ExitCode.DONE)):
        out = str(tmp_path / f"out{len(more)}")
        words = ["inspect", "-i", str(normal), "-o", out, *model, "--calibration", str(tmp_path / "c.json")]
        assert main([*words, *more]) == code
    error = capsys.readouterr().err
    assert "model.precision was 'int8 by openvino, nncf" in error
    tiled = ["inspect", "-i", str(normal), "-o", str(tmp_path / "tiled"), *model, *int8, "--tiles", "64"]
    assert main(tiled) == ExitCode.DONE
    assert "windows of the 20 pictures given, scores are within" in capsys.readouterr().err
    assert len(list(cache.glob("int8-*/int8.json"))) == 2
    few = pictures(tmp_path / "few", 3)
    with pytest.raises(ValueError, match="holds 3 pictures; int8 needs at least 10"):
        build_model(None, "CoPS", {"backbone": "demo"}, "cpu", EngineOptions("openvino", "int8", few, cache))


@pytest.mark.slow
def test_engines_answer_real_pictures_as_torch_does(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "magnetic_tile").rglob("*.jpg"))[::60]
    assert len(paths) >= 4
    for method in ("BayesPFL", "CoPS"):
        plain = build_scorer(None, method, {"backbone": "demo"}, "cpu", "magnetic tile")
        expected = [plain(read_image(path)[None]) for path in paths]
        for engine in ENGINES:
            options = EngineOptions(engine, engine_cache=tmp_path)
            scorer = build_scorer(None, method, {"backbone": "demo"}, "cpu", "magnetic tile", options)
            for path, one in zip(paths, expected, strict=True):
                answer = scorer(read_image(path)[None])
                torch.testing.assert_close(answer.score, one.score, atol=1e-4, rtol=0)
                torch.testing.assert_close(answer.score_std, one.score_std, atol=1e-4, rtol=0)
                torch.testing.assert_close(answer.anomaly_map, one.anomaly_map, atol=1e-3, rtol=0)
                torch.testing.assert_close(answer.map_std, one.map_std, atol=1e-3, rtol=0)
