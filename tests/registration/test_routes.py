"""Every route by which a user reaches the models, in processes that know nothing of this package."""

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

import anomalib_zsad
from tests.data.conftest import write_mvtec_category

ROOT = Path(__file__).resolve().parents[2]

BUILD = "from anomalib.models import get_model\nimport sys\nmodel = {'backbone': sys.argv[1], 'pretrained': None}\n"

ROUTES = """
import anomalib.data, anomalib.models
from anomalib.data import get_datamodule
from anomalib.models import ALLOWED_MODULES, get_model, list_models
assert {"BayesPFL", "CoPS"} <= list_models("pascal"), list_models("pascal")
for name in ("BayesPFL", "bayes_pfl", "bayespfl", "CoPS", "cops"):
    assert get_model(name, **model).name == ("CoPS" if name.lower() == "cops" else "BayesPFL")
for path in ("BayesPFL", "anomalib.models.BayesPFL", "anomalib_zsad.BayesPFL", "anomalib_zsad.CoPS"):
    get_model({"class_path": path, "init_args": model})
assert get_datamodule({"class_path": "FolderTree", "init_args": {"root": "."}}).name
for name in ("AuxiliaryDataModule", "FolderTree", "SampleDataModule"):
    assert name in anomalib.data.__all__ and hasattr(anomalib.data, name)
assert {"BayesPFL", "CoPS"} <= set(anomalib.models.__all__)
"""


def run(script, *arguments, python=sys.executable, cwd, **environment):
    """Run a script in a fresh process, its folder not the repository; returns (output, messages)."""
    path = Path(cwd) / "script.py"
    path.write_text(script)
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "OMP_NUM_THREADS": "1", **environment}
    command = [str(python), "-W", "ignore", str(path), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """The configuration of a very small CLIP."""
    path = tmp_path_factory.mktemp("clip") / "tiny.json"
    vision = {"image_size": 32, "layers": 4, "width": 64, "patch_size": 8}
    text = {"width": 192, "layers": 10, "heads": 3}  # CoPS has 12 heads and prompts 9 text layers
    path.write_text(json.dumps({"embed_dim": 192, "vision_cfg": vision, "text_cfg": text}))
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the checkout."""
    if not (find_spec("hatchling") and find_spec("pip")):
        pytest.skip("hatchling and pip are needed to build a wheel offline")
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


def pip(command, *arguments, python=None):
    """Run pip offline, without dependencies, and never into the environment that runs the tests."""
    assert command == "wheel" or python is not None or "--target" in arguments
    chosen = [] if python is None else ["--python", str(python)]
    full = [sys.executable, "-m", "pip", *chosen, command, "--quiet", "--no-deps", "--no-index", *map(str, arguments)]
    done = subprocess.run(full, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_light_and_lists_what_it_has(tmp_path):
    script = (
        "import sys, anomalib_zsad\n"
        "heavy = {'torch', 'numpy', 'anomalib', 'open_clip', 'monai'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert anomalib_zsad.__version__\n"
        "assert set(anomalib_zsad.__all__) <= set(dir(anomalib_zsad))\n"
    )
    run(script, cwd=tmp_path)
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchModel'"):
        _ = anomalib_zsad.NoSuchModel


def test_a_process_that_imports_anomalib_models_first(tmp_path, backbone):
    output, messages = run(BUILD + ROUTES, backbone, cwd=tmp_path)
    assert "could not make" not in output + messages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "environment"),
    [
        ("import torch\n", {}),
        ("import anomalib.data\n", {}),
        ("from anomalib_zsad import BayesPFL\n", {}),
        ("from anomalib_zsad.models.bayes_pfl.lightning_model import BayesPFL\n", {}),
        ("import anomalib_zsad\n", {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}),
        ("from anomalib.models import get_model\nimport anomalib_zsad\n", {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}),
    ],
)
def test_any_order_of_imports(tmp_path, backbone, first, environment):
    output, messages = run(first + BUILD + ROUTES, backbone, cwd=tmp_path, **environment)
    assert "could not make" not in output + messages


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["models/bayes_pfl/lightning_model.py", "models", "data/items.py"])
def test_a_broken_package_breaks_neither_torch_nor_anomalib(tmp_path, missing):
    broken = tmp_path / "broken" / "anomalib_zsad"
    shutil.copytree(Path(anomalib_zsad.__file__).parent, broken, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(broken / missing) if (broken / missing).is_dir() else (broken / missing).unlink()
    script = (
        "import torch, anomalib.data\n"
        "from anomalib.models import get_model, list_models\n"
        "import anomalib_zsad\n"
        "assert 'broken' in anomalib_zsad.__file__\n"
        "assert 'padim' in list_models()\n"
        "assert anomalib.data.MVTecAD\n"
    )
    _, messages = run(script, cwd=tmp_path, PYTHONPATH=str(broken.parent))
    assert "known to anomalib: ModuleNotFoundError" in messages
    assert "pip install --force-reinstall anomalib-zsad" in messages


COMMAND = "import sys\nfrom anomalib.cli.cli import main\nmain()\n"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "autoload"), [("BayesPFL", "1"), ("anomalib_zsad.BayesPFL", "0")])
def test_the_stock_command_trains_on_auxiliary_data_and_tests_on_a_target(tmp_path, backbone, model, autoload):
    for name in ("gear", "lens", "plate"):
        write_mvtec_category(tmp_path / "parts" / name)
    for name in ("bolt", "nut"):
        write_mvtec_category(tmp_path / "unseen" / name)
    data = "AuxiliaryDataModule" if autoload == "1" else "anomalib_zsad.AuxiliaryDataModule"
    target = "FolderTree" if autoload == "1" else "anomalib_zsad.FolderTree"
    run(
        COMMAND,
        "train",
        f"--model={model}",
        f"--model.backbone={backbone}",
        "--model.pretrained=null",
        f"--data={data}",
        "--data.dataset=FolderTree",
        f"--data.root={tmp_path / 'parts'}",
        f"--data.target={target}",
        f"--data.target.root={tmp_path / 'unseen'}",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        f"--default_root_dir={tmp_path / 'results'}",
        cwd=tmp_path,
        TORCH_DEVICE_BACKEND_AUTOLOAD=autoload,
    )
    images = list((tmp_path / "results" / "BayesPFL" / "unseen").rglob("images/**/*.png"))
    assert len(images) == 10  # 5 of each category: none was overwritten
    assert {path.parts[-4] for path in images} == {"bolt", "nut"}


@pytest.mark.slow
def test_a_target_install(tmp_path, wheel, backbone):
    folder = tmp_path / "target"
    pip("install", "--target", folder, wheel)
    check = f"import anomalib_zsad\nassert anomalib_zsad.__file__.startswith({str(folder)!r})\n"
    run(BUILD + ROUTES + check + SAMPLE, backbone, cwd=tmp_path, PYTHONPATH=str(folder))


@pytest.mark.slow
def test_a_wheel_install(tmp_path, wheel, backbone):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    # The dependencies come from this environment; a path in a .pth file is not searched for further .pth files, so
    # an editable install of the checkout there is not seen.
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    pip("install", wheel, python=python)
    check = f"import anomalib_zsad\nassert anomalib_zsad.__file__.startswith({str(environment)!r})\n"
    run(BUILD + ROUTES + check + SAMPLE, backbone, python=python, cwd=tmp_path)


SAMPLE = (
    "from anomalib_zsad.data.sample_set import sample_data_folder\n"
    "assert sample_data_folder().parent.name == 'anomalib_zsad', sample_data_folder()\n"
)
