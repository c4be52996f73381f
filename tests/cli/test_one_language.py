"""The command line as one language: the same option, the same meaning; help without torch; exit codes in one place."""

import argparse
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.cli import COMMANDS, build_parser, main
from anomalib_zsad.cli.dataclass_options import default_of
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.inspection.options import ImageReading, InspectionOptions
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import visible
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.volumes.options import ReadingOptions

DOCS = Path(__file__).resolve().parents[2] / "docs"
# What differs by its nature: what is read and written, and whether one or several checkpoints are.
DIFFERENT = {"-i", "--input", "-o", "--output", "--checkpoint"}


def options_of(command: str) -> dict[str, argparse.Action]:
    parser = build_parser(command)
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {flag: action for action in subparsers.choices[command]._actions for flag in action.option_strings}


def test_an_option_has_the_same_default_and_meaning_in_every_command() -> None:
    seen: dict[str, tuple[str, argparse.Action]] = {}
    for command in COMMANDS:
        for flag, action in options_of(command).items():
            if flag in {"-h", "--help", "--json", *DIFFERENT}:
                continue
            first, other = seen.setdefault(flag, (command, action))
            assert (action.default, action.dest, action.nargs, action.choices) == (
                other.default,
                other.dest,
                other.nargs,
                other.choices,
            ), f"{flag} of {command} and {first}"


def test_everything_that_reads_has_input_and_everything_that_writes_has_output() -> None:
    for command in ("screen", "inspect", "calibrate", "evaluate"):
        assert {"-i", "--input", "-o", "--output", "--checkpoint", "--model", "--class-name"} <= set(
            options_of(command)
        )
    assert {"-i", "--input"} <= set(options_of("info"))


@pytest.mark.parametrize(
    ("command", "dataclass"),
    [
        ("screen", VolumeOptions),
        ("screen", ReadingOptions),
        ("calibrate", VolumeOptions),
        ("inspect", InspectionOptions),
        ("inspect", ImageReading),
        ("calibrate", ImageReading),
        ("evaluate", Settings),
        ("info", ReadingOptions),
    ],
)
def test_defaults_are_those_of_the_dataclass_that_is_filled(command: str, dataclass: type) -> None:
    defaults = {field.name: default_of(field) for field in fields(dataclass)}
    found = {action.dest: action.default for action in options_of(command).values() if action.dest in defaults}
    if command == "evaluate":
        found.pop("false_alarm_rate")  # none means: none was given, so that one without a calibration can be refused
        found.pop("class_name")
    assert len(found) >= 3
    assert found == {name: defaults[name] for name in found}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_no_torch(command: str) -> None:
    program = (
        "import sys\nfrom anomalib_zsad.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'anomalib', 'monai'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *filter(None, [command]), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "exit codes:" in done.stdout or not command


def test_exit_codes_are_documented_as_they_are() -> None:
    text = (DOCS / "command-line.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(str(code.value), code.meaning) for code in ExitCode]


def test_options_that_the_page_names_exist() -> None:
    text = (DOCS / "command-line.md").read_text()
    known = {flag for command in COMMANDS for flag in options_of(command)} | {"--help"}
    known |= {f"--model.{name}" for name in inspect.signature(BayesPFL).parameters}
    assert set(re.findall(r"--[a-z][\w.-]+", text)) <= known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.num_samples"], "--model.num_samples needs a value"),
        (["--model.3d", "1"], "--model.3d needs a value"),
        (["--model.checkpoint", "x"], "--model.checkpoint is --checkpoint here"),
        (["--model.class_name=brain"], "--model.class_name is --class-name here"),
        (["--model.num_samples", "--resume"], "--model.num_samples needs a value, as in --model.num_samples 5"),
        (["--model.calibration", "c.json"], "--model.calibration is --calibration, in commands that judge scores"),
        (["--model.false_alarm_rate=0.1"], "--model.false_alarm_rate is --false-alarm-rate, in commands that"),
    ],
)
def test_model_arguments_that_make_no_sense(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["screen", "-i", "x", "-o", "y", *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "weights"])
def test_a_command_without_a_model_takes_no_model_arguments(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, *(["-i", "x"] if command == "info" else []), "--model.num_samples", "5"])
    assert stopped.value.code == ExitCode.USAGE
    assert f"{command} builds no model and takes no --model.num_samples" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = build_parser(command)
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    text = (subparsers.choices[command] if command else parser).format_help()
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_an_empty_class_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "-i", str(tmp_path), "-o", str(tmp_path / "o"), "--class-name", " "]) == 2
    assert "--class-name is empty; say what is shown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("num_samples abc", "--model.num_samples of BayesPFL must be int, and is 'abc'"),
        ("num_samples 2.5", "--model.num_samples of BayesPFL must be int, and is 2.5"),
        ("num_samples null", "--model.num_samples of BayesPFL must be int, and is None"),
        ("layers [1,true]", "--model.layers of BayesPFL must be tuple[int, ...], and is [1, True]"),
        (
            "pretrained 5",
            """--model.pretrained of BayesPFL must be str, and is 5; as text it is written '"5"'""",
        ),
        ("keep_features ram", "--model.keep_features of BayesPFL must be one of memory, disk, and is 'ram'"),
        ("flavour 1", "BayesPFL has no argument flavour; it has backbone, pretrained, image_size"),
    ],
)
def test_model_arguments_of_another_type_are_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = words.split()
    arguments = ["-i", str(tmp_path), "-o", str(tmp_path.parent / "o"), "--allow-untrained", "--model.backbone", "demo"]
    assert main(["inspect", *arguments, f"--model.{name}", value]) == ExitCode.USAGE
    assert f"error: {message}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "class_name=5",
            """class_name of FolderTreeDataset must be str, and is 5; as text it is written '"5"'""",
        ),
        ("normal_names=good", "normal_names of FolderTreeDataset must be list[str], and is 'good'"),
        ("mask_threshold=abc", "mask_threshold of FolderTreeDataset must be float, and is 'abc'"),
    ],
)
def test_arguments_of_a_data_set_of_another_type_are_one_line(
    command: str, query: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set" / "good").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "set" / "good" / "a.png")
    words = [command, "-i", f"FolderTree:{tmp_path / 'set'}?{query}", "-o", str(tmp_path / "out"), "--allow-untrained"]
    assert main([*words, "--model.backbone", "demo", "--model.num_samples", "1"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {message}"


@pytest.mark.parametrize("method", [BayesPFL, CoPS])
def test_class_names_that_are_no_strings_are_refused(method: type) -> None:
    for name in (5, ["bolt"], b"bolt"):
        with pytest.raises(TypeError, match="class_name must be a string, got"):
            method(backbone="demo", class_name=name)
    model = method(backbone="demo", num_samples=1).model.eval()
    images = torch.zeros(2, 3, model.backbone.image_size, model.backbone.image_size)
    for names in ([None, "bolt"], ["bolt", 5], [["bolt"], "nut"]):
        with pytest.raises(TypeError, match="class_name must be a string, got"):
            model(images, names)
    for names in (5, b"ab", {"bolt": 1, "nut": 2}):
        with pytest.raises(TypeError, match="class names must be one string, or a list of strings, one an image; got"):
            model(images, names)
    with pytest.raises(ValueError, match="class_name is empty"):
        model(images, ["bolt", " "])


@pytest.mark.parametrize("command", ["screen", "inspect", "calibrate", "evaluate"])
def test_the_model_is_told_to_be_loading_before_torch_is_imported(command: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom anomalib_zsad.cli import main, model_options\n"
        "def say(text):\n    print(text, 'torch' in sys.modules)\n    raise KeyboardInterrupt\n"
        "model_options.say = say\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = [command, "-i", tmp_path, "-o", tmp_path / "out", "--checkpoint", "model.ckpt"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "loading model model.ckpt ... False\n", done.stderr
    assert done.returncode == ExitCode.INTERRUPTED


def test_what_others_chose_cannot_act_on_a_terminal() -> None:
    assert visible("a\x1b[31mb\u202ec\rd\ne") == "a\\x1b[31mb\\u202ec\\rd\ne"
    assert visible("Größe 5 µm ± 日本") == "Größe 5 µm ± 日本"
