#!/usr/bin/env bash
# What the first pages of the documentation do, with the wheel alone: offline, embedded backbone, bundled sample set.
# usage: smoke_test.sh PYTHON FOLDER; PYTHON has the wheel installed, FOLDER is empty
set -euo pipefail
python=$1
cd "$2"
bin=$(dirname "$python")
export HF_HUB_OFFLINE=1 PIP_NO_INDEX=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
unset PYTHONPATH
"$python" - <<'PY'
import importlib, pkgutil
from pathlib import Path
import anomalib_zsad
place = Path(anomalib_zsad.__file__).parent
assert "site-packages" in str(place), place
# What is for a checkout alone must not have come along, and whatever did must be importable.
for gone in ("demo/pretrain.py", "demo/measure_draws.py", "sample_data/textures"):
    assert not (place / gone).exists(), gone
for here in ("backbone/demo/weights.safetensors", "sample_data/industrial", "sample_data/medical"):
    assert (place / here).exists(), here
for module in pkgutil.walk_packages([str(place)], "anomalib_zsad."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:  # of an extra, never of our own
        ours = str(getattr(error, "name", "") or "").startswith("anomalib_zsad")
        assert not ours and ("pip install" in str(error) or isinstance(error, ModuleNotFoundError)), error
    except ValueError as error:
        assert "pip install" in str(error), error
PY
"$bin/anomalib-zsad" --version
"$python" -m anomalib_zsad.demo --help >/dev/null
"$bin/anomalib" train --model CoPS --model.backbone demo --trainer.max_epochs 1 --trainer.accelerator cpu \
    --trainer.limit_train_batches 2 --trainer.limit_val_batches 1 --trainer.limit_test_batches 1 >train.log 2>&1 ||
    { tail -30 train.log; exit 1; }
cp "$(find . -name model.ckpt | head -1)" model.ckpt
samples=$("$python" -c "from anomalib_zsad.data.sample_set import sample_data_folder as f; print(f())")
"$bin/anomalib-zsad" inspect -i "$samples/industrial/leather/test/good" -o INSPECTED --checkpoint model.ckpt \
    --class-name leather --no-progress
"$bin/anomalib-zsad" screen -i "$samples/medical/brain_mr/images" -o SCREENED --checkpoint model.ckpt \
    --class-name brain --no-progress
test -s INSPECTED/report.html
test -s SCREENED/index.html
echo "smoke test passed"
