"""Thousands of mutated files: every one is read, or refused by a fault that has a name, in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "mebibytes"), [("dicom", 10_000, 250), ("nifti", 2_000, 250), ("images", 500, 1_500)]
)
def test_every_mutated_file_is_accounted_for(tmp_path: Path, kind: str, count: int, mebibytes: int) -> None:
    command = [sys.executable, "-m", "tests.volumes.fuzz", kind, str(count), "20261126", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=900)
    told = json.loads(said.stdout)
    assert told["unnamed"] == []
    assert told["files"] == count
    assert told["mebibytes"] < mebibytes  # as a program that reads one small file
    assert 0.1 * count < told["outcomes"]["read"] < 0.9 * count  # mutations that all fail, or none, test nothing
