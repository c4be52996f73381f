"""The documentation site: built with warnings as errors, and its first pages do what they say."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.data.sample_set import sample_data_folder
from anomalib_zsad.demo.phantoms import normal_phantoms, write_phantom
from tests.docs.test_examples import ROOT, blocks, commands

FIRST_PAGES = ("docs/own-images.md", "docs/own-study.md", "docs/real-weights.md")


def build(source: Path, site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_the_site_builds_and_a_dead_link_is_an_error(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="the extra [docs] is not installed")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("docs", "configs", "tools", "src", "tests/extension"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    for name in ("mkdocs.yml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    done = build(source, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference" / "models.html").read_text()
    assert "num_samples" in reference
    assert "from_pretrained" in reference
    page = source / "docs" / "own-study.md"
    text = page.read_text()
    for dead in ("nowhere.md", "calibration.md#nowhere", "../configs/nowhere.yaml"):
        page.write_text(f"{text}\n[dead]({dead})\n")
        assert build(source, tmp_path / "dead").returncode != 0, dead


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    for path in sorted((ROOT / "docs").rglob("*.md")):
        assert f"{path.relative_to(ROOT / 'docs')}\n" in navigation, path


def shell_commands(page: str) -> list[list[str]]:
    """Commands of anomalib itself that a page shows, without `--config` files of benchmarks that are not here."""
    lines = [line for _, block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("anomalib ") and "--config" not in line]


@pytest.mark.slow
def test_the_first_pages_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    leather = sample_data_folder() / "industrial" / "leather" / "test"
    shutil.copytree(leather, "IMAGES")
    good = [path for folder in (sample_data_folder() / "industrial").glob("*/t*/good") for path in folder.iterdir()]
    Path("GOOD").mkdir()
    for number, path in enumerate(sorted(good)[:20]):
        shutil.copy(path, Path("GOOD") / f"{number}{path.suffix}")
    shutil.copy(next((leather / "good").iterdir()), "part.png")
    shutil.copytree(sample_data_folder() / "medical" / "head_ct" / "images", "STUDIES")
    for phantom in normal_phantoms("head_ct", range(1000, 1020)):
        write_phantom(phantom, tmp_path / "phantoms", patient=phantom.name)
    Path("phantoms/images").rename("NORMALS")
    (training,) = shell_commands("docs/own-images.md")
    start = [sys.executable, "-c", "import sys; from anomalib.cli.cli import main; sys.exit(main())"]
    short = [word for kind in ("train", "val", "test") for word in (f"--trainer.limit_{kind}_batches", "2")]
    done = subprocess.run(
        [*start, *training[1:], "--trainer.accelerator", "cpu", *short], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (copy,) = (block for _, block in blocks("docs/own-images.md") if block.startswith("cp "))
    subprocess.run(copy, shell=True, check=True)  # noqa: S602 - the page's own command, with its pattern
    for page in FIRST_PAGES[:2]:
        for output in ("OUT", "JUDGED"):
            shutil.rmtree(output, ignore_errors=True)
        for words in commands(page):
            assert main(words[1:]) == 0, words
    (python,) = (block for language, block in blocks("docs/own-images.md") if language == "python")
    exec(compile(python, "own-images.md", "exec"), {})  # noqa: S102 - that is the point
    assert Path("overlay.png").is_file()
    (python, _) = (block for language, block in blocks("docs/sharing.md") if language == "python")
    exec(compile(python, "sharing.md", "exec"), {})  # noqa: S102
    assert Path("my-model/README.md").is_file()
