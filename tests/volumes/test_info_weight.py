"""Looking at headers needs neither torch nor MONAI, and little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.volumes.volume_builders import affines, marked_voxels, write_nifti, write_series

_LOOK = r"""
import json, re, sys
from pathlib import Path
from anomalib_zsad.cli import main
code = main(["info", "-i", sys.argv[1], *sys.argv[2:]])
heavy = [name for name in ("torch", "monai", "anomalib", "lightning", "open_clip", "pandas") if name in sys.modules]
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])  # that of this program alone
print(json.dumps([code, heavy, peak / 1024]))
"""


@pytest.mark.parametrize("options", [[], ["--check"], ["--json", "--source-names"]])
def test_info_is_light(tmp_path: Path, options: list[str]) -> None:
    write_series(tmp_path / "series")
    write_nifti(tmp_path / "volume.nii.gz", marked_voxels(), affines()["lps"])
    command = [sys.executable, "-c", _LOOK, str(tmp_path), *options]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    code, heavy, mebibytes = json.loads(said.stdout.splitlines()[-1])
    assert (code, heavy) == (0, [])
    assert mebibytes < 250
