"""What is released: one version everywhere, a citation, licences, and a wheel that holds what it needs and no more."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")

ROOT = Path(__file__).resolve().parents[2]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def licences() -> Any:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "tools" / "licences.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def test_the_version_is_the_same_everywhere() -> None:
    version = project()["version"]
    dated = re.search(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert dated is not None
    assert (version, dated[1]) == (citation["version"], version)
    assert dated[2] == citation["date-released"]


def test_the_citation_names_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    urls = [reference["url"] for reference in citation["references"]]
    assert urls == ["https://arxiv.org/abs/2503.10080", "https://arxiv.org/abs/2508.03447"]
    for reference in citation["references"]:
        assert all(set(author) == {"family-names", "given-names"} for author in reference["authors"])
    assert citation["license"] == project()["license"]


def test_no_required_dependency_is_copyleft() -> None:
    tool = licences()
    required = tool.closure()
    assert len(required) > 30
    assert tool.copyleft(required) == []


@pytest.mark.parametrize(
    "stated", ["GPL-3.0-only", "LGPL-2.1-or-later", "GNU General Public License v3 (GPLv3)", "AGPLv3"]
)
def test_copyleft_is_recognised(stated: str) -> None:
    assert licences().STRONG.search(stated)


def test_the_page_of_licences_names_every_required_package() -> None:
    tool, text = licences(), (ROOT / "docs" / "licences.md").read_text()
    for line in project()["dependencies"]:
        name = re.split(r"[ >=;<\[]", line)[0].replace("_", "-").lower()
        assert f"| {name} |" in text, name
    assert tool.table(tool.closure()).splitlines()[0] in text


def test_every_extra_is_pinned() -> None:
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for lines in project()["optional-dependencies"].values():
        for line in lines:
            name = re.split(r"[ >=;<\[]", line)[0].replace("_", "-").lower()
            assert name == "anomalib-zsad" or name in pins, name


@pytest.mark.slow
def test_the_wheel_holds_what_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name == f"anomalib_zsad-{project()['version']}-py3-none-any.whl"
    for held in (
        "backbone/demo/weights.safetensors",
        "sample_data/industrial/",
        "sample_data/medical/",
        "demo/__main__.py",
    ):
        assert any(name.startswith(f"anomalib_zsad/{held}") for name in names), held
    for left in ("sample_data/textures", "demo/pretrain", "demo/measure_", "demo/captions", "tests"):
        assert not any(name.startswith((f"anomalib_zsad/{left}", left)) for name in names), left
    assert any(name.endswith("licenses/LICENSE") for name in names)
