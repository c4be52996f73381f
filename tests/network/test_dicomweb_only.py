"""The recipe for an archive that speaks DICOMweb alone, and asks for a password: its commands, as they are written."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from anomalib_zsad.cli import main
from anomalib_zsad.scoring import build
from tests.network.orthanc import Orthanc, running_orthanc
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import write_series

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"
USER = "reader:secret"


def documented(orthanc: Orthanc) -> list[str]:
    """The commands of the section, for a server on another port."""
    block = re.search(r"### With DICOMweb only\n.*?```\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    return block.replace("\\\n", " ").replace(":8042", f":{orthanc.http_port}").strip().splitlines()


def ask(orthanc: Orthanc, path: str) -> list[dict]:
    command = ["curl", "-sf", "-u", USER, f"{orthanc.web}/{path}"]
    return json.loads(subprocess.run(command, capture_output=True, timeout=30, check=True).stdout)


def store(orthanc: Orthanc, files: list[Path]) -> None:
    for path in files:
        address = f"http://127.0.0.1:{orthanc.http_port}/instances"
        command = ["curl", "-sf", "-u", USER, "-H", "Expect:", "--data-binary", f"@{path}", address]
        subprocess.run(command, capture_output=True, timeout=30, check=True)


def test_the_commands_of_the_recipe_find_fetch_screen_and_bring_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def edit(dataset: Dataset, _: int) -> None:
        dataset.Modality, dataset.StudyDate = "MR", "20260131"

    monkeypatch.chdir(tmp_path)
    model = BrightSpotScorer()
    monkeypatch.setattr(build, "build_scorer", lambda *_: model)
    users = {"AuthenticationEnabled": True, "RegisteredUsers": dict([USER.split(":")])}
    with running_orthanc(tmp_path / "orthanc", users) as orthanc:
        store(orthanc, sorted(write_series(tmp_path / "s", edit=edit).iterdir()))
        export, look, pull, find = documented(orthanc)
        name = export.split("=")[0].removeprefix("export ")
        shown = subprocess.run(
            ["bash", "-c", f'{export}; printf %s "${name}"'], capture_output=True, text=True, check=True
        )
        monkeypatch.delenv(name, raising=False)
        assert main(shlex.split(look)[1:]) != 0  # without it nothing is sent
        monkeypatch.setenv(name, shown.stdout)
        capsys.readouterr()
        assert main(shlex.split(look)[1:]) == 0
        assert "1 series would be screened" in capsys.readouterr().out
        assert not ask(orthanc, "series?Modality=SEG")
        assert main(shlex.split(pull)[1:]) == 0
        answer = subprocess.run(["bash", "-c", find], capture_output=True, text=True, timeout=30, check=True)
        (segmentation,) = json.loads(answer.stdout)
        (source,) = ask(orthanc, "series?Modality=MR")
        assert segmentation["0020000D"] == source["0020000D"]  # a further series of the same study
        scored = len(model.batches)
        store(orthanc, sorted(write_series(tmp_path / "t", seed="second", edit=edit).iterdir()))
        assert main([*shlex.split(pull)[1:], "--resume"]) == 0
        assert len(ask(orthanc, "series?Modality=SEG")) == 2
        assert len(model.batches) == 2 * scored  # what was done is not screened again
