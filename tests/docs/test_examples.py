"""What the README and docstrings show is run: their Python, and every command, as it is written."""

import doctest
import importlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import anomalib_zsad
from anomalib_zsad.cli import COMMANDS, build_parser, main
from anomalib_zsad.cli.model_options import take_model_arguments
from anomalib_zsad.data.sample_set import sample_data_folder
from anomalib_zsad.demo.phantoms import normal_phantoms, write_phantom
from tests.models.configs import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PAGES += ["src/anomalib_zsad/volumes/README.md"]


def modules_with_examples() -> list[str]:
    found = sorted(Path(anomalib_zsad.__file__).parent.rglob("*.py"))
    names = [path.relative_to(Path(anomalib_zsad.__file__).parents[1]) for path in found if ">>>" in path.read_text()]
    return [".".join(name.with_suffix("").parts) for name in names]


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block of a page."""
    fenced = (ROOT / page).read_text().split("```")[1::2]
    return [(block.partition("\n")[0], block.partition("\n")[2]) for block in fenced]


def commands(page: str, program: str = "anomalib-zsad") -> list[list[str]]:
    """Every command of a program in a page's blocks, as words, without comments."""
    lines = [line for _, block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.lstrip().startswith(f"{program} ")]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_pages_are_understood(page: str) -> None:
    for words in commands(page):
        if "..." not in words:
            left, _ = take_model_arguments(words[1:])
            build_parser(words[1]).parse_args(left)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "anomalib")])
def test_commands_of_anomalib_on_the_pages_are_understood(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in commands(page, "anomalib"):
        assert "anomalib_zsad." in parse(*words[1:]).model.class_path


def test_the_readme_begins_with_what_a_newcomer_wants_in_three_lines_each() -> None:
    headings = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[:3] == [
        f"## {what}, in three lines" for what in ("Your own images", "Your own study", "Real weights")
    ]
    assert [len(block.strip().splitlines()) for _, block in blocks("README.md")[:3]] == [3, 3, 3]


def test_the_pages_show_every_command() -> None:
    shown = {words[1] for page in PAGES for words in commands(page)}
    assert set(COMMANDS) <= shown


def run_anomalib(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    program = "import sys; from anomalib.cli.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, cwd=folder
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's commands name: a trained model, images, studies, normal cases."""
    folder = tmp_path_factory.mktemp("place")
    few = [("--trainer.max_epochs", "1"), ("--trainer.accelerator", "cpu"), ("--trainer.limit_train_batches", "4")]
    few += [("--trainer.limit_val_batches", "1"), ("--trainer.limit_test_batches", "1")]
    (words,) = (words for words in commands("README.md", "anomalib") if "--model.backbone" in words)
    done = run_anomalib(*words[1:], *(word for pair in few for word in pair), folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.copy(next(folder.rglob("model.ckpt")), folder / "model.ckpt")
    leather = sample_data_folder() / "industrial" / "leather" / "test"
    shutil.copytree(leather, folder / "IMAGES")
    shutil.copy(next((leather / "good").iterdir()), folder / "part.png")
    shutil.copytree(sample_data_folder() / "medical" / "head_ct" / "images", folder / "STUDIES")
    for phantom in normal_phantoms("head_ct", range(1000, 1020)):
        write_phantom(phantom, folder / "phantoms", patient=phantom.name)
    (folder / "phantoms" / "images").rename(folder / "NORMALS")
    return folder


@pytest.mark.slow
def test_the_readme_does_what_it_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (python,) = (block for language, block in blocks("README.md") if language == "python")
    exec(compile(python, "README.md", "exec"), {})  # noqa: S102 - that is the point
    assert (place / "overlay.png").is_file()
    ran = 0
    for words in commands("README.md"):
        if "train_visa.pth" in words:
            continue  # the authors' file, over CLIP's weights: neither is here
        if any(word == "-o" for word in words):
            shutil.rmtree(place / "OUT", ignore_errors=True)
        assert main(words[1:]) == 0, words
        ran += 1
    assert ran >= 5
    for words in commands("README.md", "anomalib"):
        if words[1] == "predict":
            words[words.index("path/to/images")] = "IMAGES"
            more = ("--trainer.accelerator", "cpu", "--trainer.limit_predict_batches", "1")
            done = run_anomalib(*words[1:], *more, folder=place)
            assert done.returncode == 0, done.stderr[-3000:]
            assert any((place / "results").rglob("*.jpg"))  # as the sample pictures are
