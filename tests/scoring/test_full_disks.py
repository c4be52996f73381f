"""A disk that is full while a model is made for an engine or exported: exit code 6, and the right place named."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anomalib_zsad.cli.failures import exit_code_of
from anomalib_zsad.outputs.disk_errors import CacheError, DiskError
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring.engines.cache import kept

# Files of more than 64 KiB cannot be written; a signal would come before the error.
SMALL_FILES = (
    "import resource, signal\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
)


def run(program: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_cache_is_named_where_it_cannot_be_written(tmp_path: Path, capsys: Any) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "model.bin"))

    with pytest.raises(CacheError) as caught:
        kept(tmp_path, "thing", {"a": 1}, fail)
    assert exit_code_of(caught.value, resumable=False) == ExitCode.DISK
    told = f"error: the cache cannot be written: No space left on device ({tmp_path}; --engine-cache names another"
    assert told in capsys.readouterr().err
    assert exit_code_of(DiskError("No space left on device"), resumable=False) == ExitCode.DISK
    assert "error: the output cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sizes of files are limited as POSIX has it")
def test_what_torch_cannot_write_is_an_error_of_the_disk(tmp_path: Path) -> None:
    program = (
        "import sys, torch\nfrom pathlib import Path\n"
        "from anomalib_zsad.models.components.exports import save_torch\n"
        f"{SMALL_FILES}"
        "try:\n    save_torch({'a': torch.zeros(1 << 20)}, Path(sys.argv[1]) / 'model.pt')\n"
        "except OSError as error:\n    print(error.errno)\n"
    )
    assert run(program, tmp_path) == str(errno.EFBIG)


@pytest.mark.skipif(os.name != "posix", reason="sizes of files are limited as POSIX has it")
def test_what_openvino_cannot_write_is_an_error_of_the_disk(tmp_path: Path) -> None:
    program = (
        "import sys, numpy, openvino\nfrom pathlib import Path\nfrom openvino import opset13 as op\n"
        "from anomalib_zsad.outputs.disk_errors import writes_of_libraries\n"
        "given = op.parameter([1, 512], numpy.float32)\n"
        "weights = op.constant(numpy.random.rand(512, 512).astype(numpy.float32))\n"
        "model = openvino.Model([op.matmul(given, weights, False, False)], [given])\n"
        "path = Path(sys.argv[1]) / 'model.xml'\n"
        f"{SMALL_FILES}"
        "try:\n    with writes_of_libraries(path):\n"
        "        openvino.save_model(model, path, compress_to_fp16=False)\n"
        "except OSError as error:\n    print(error.errno, error.filename)\n"
    )
    assert run(program, tmp_path) == f"{errno.ENOSPC} {tmp_path / 'model.xml'}"
