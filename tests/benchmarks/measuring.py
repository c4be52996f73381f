"""What the benchmarks share: reference, models with random weights, medians of alternating runs, memory, rows.

Only ratios within one run mean anything; seconds depend on the machine.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BACKBONE = "ViT-L-14-336"
SIDE = 518
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# What an answer may cost: must and aim, against R, and against R*, which flatters no one where a library is slow.
BOUNDS = {
    ("BayesPFL", "float32"): ("0.95", "0.80"),
    ("CoPS", "float32"): ("1.05", "0.90"),
    ("BayesPFL", "bfloat16"): ("0.80", "0.70"),
    ("CoPS", "bfloat16"): ("1.05", "0.90"),
}
BOUNDS_STAR = {("BayesPFL", "float32"): ("1.35", "1.2"), ("CoPS", "float32"): ("1.55", "1.35")}
METHODS = ("BayesPFL", "CoPS")
_ANSWER = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from measuring import memory
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.engine_options import EngineOptions
given = {name: Path(value) if "/" in value else value for name, value in json.loads(sys.argv[3]).items()}
before = memory("VmRSS")
scorer = build_scorer(Path(sys.argv[2]), device="cpu", engine=EngineOptions(**given), only_scores=True)
scorer.predict(torch.rand(1, 3, 518, 518))
print(before, memory("VmHWM"))
"""
TOWER_FLOPS = 1.01e12
"""Of the plain vision tower for one image: what R* is the time of at the best rate of a large matrix product."""


def build(
    method: str, dtype: str = "float32", device: str = "cpu", backbone: str = BACKBONE, extractor_heads: int = 12
) -> Any:
    """The torch model of a method over a backbone with random weights, 10 sampled prompts, in evaluation mode."""
    from anomalib_zsad.backbone import FrozenCLIP
    from anomalib_zsad.models.bayes_pfl.torch_model import BayesPFLModel
    from anomalib_zsad.models.cops.torch_model import CoPSModel

    torch.manual_seed(0)
    if method == "BayesPFL":
        clip = FrozenCLIP(backbone, None)
        model: torch.nn.Module = BayesPFLModel(clip, clip.config.default_layers)
    else:
        clip = FrozenCLIP(backbone, None, activation="quick_gelu", position_resize="bilinear")
        model = CoPSModel(clip, extractor_heads=extractor_heads)
    return model.eval().to(device, DTYPES[dtype])


def on_disk(methods: Iterable[str], backbone: str, folder: Path) -> dict[str, Path]:
    """Checkpoints of untrained models, as trainings write them, beside random weights where commands find them."""
    from safetensors.torch import save_file

    import anomalib_zsad
    from anomalib_zsad.backbone.config import load_config
    from anomalib_zsad.backbone.weights import WEIGHTS_VARIABLE, random_weights
    from anomalib_zsad.models.components.checkpoint import STAMP

    os.environ[WEIGHTS_VARIABLE] = str(folder)
    weights = folder / f"{backbone}-openai.safetensors"
    if backbone != "demo" and not weights.exists():
        save_file({name: value.contiguous() for name, value in random_weights(load_config(backbone)).items()}, weights)
    found = {}
    for method in methods:
        torch.manual_seed(0)
        heads = {"extractor_heads": 8} if method == "CoPS" and load_config(backbone).embed_dim % 12 else {}
        module = getattr(anomalib_zsad, method)(backbone=backbone, **({} if backbone == "demo" else heads))
        state = {f"model.{name}": value for name, value in module.model.state_dict().items()}
        found[method] = folder / f"{method}-{backbone}.ckpt"
        torch.save({"state_dict": state, STAMP: module.stamp()}, found[method])
    return found


def peak_of_an_answer(checkpoint: Path, **engine: Any) -> tuple[float, float]:
    """Memory in MiB of a process of its own that answers one image as a command does: after imports, and at its peak.

    Args:
        checkpoint: Of `on_disk`.
        engine: Of `EngineOptions`.
    """
    command = [sys.executable, "-c", _ANSWER, str(Path(__file__).parent), str(checkpoint), json.dumps(engine)]
    before, highest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
    return float(before), float(highest)


def reference(dtype: str, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """What R is the cost of: open_clip's own `encode_image` on the same backbone."""
    import open_clip

    model = open_clip.create_model(BACKBONE, pretrained=None, force_image_size=SIDE)
    return model.eval().to(device, DTYPES[dtype]).encode_image


def images(count: int, dtype: str = "float32", device: str = "cpu") -> Tensor:
    """Seeded images of noise."""
    drawn = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return drawn.to(device, DTYPES[dtype])


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def medians(variants: dict[str, Callable[[], object]], repeats: int, device: str = "cpu") -> dict[str, float]:
    """Median seconds of each variant over alternating runs, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(repeats + 1):
        for name, variant in variants.items():
            taken = seconds(variant, device)
            if repeat:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def best_matrix_product(dtype: str, device: str = "cpu", tries: int = 3) -> float:
    """FLOP/s of the best large matrix product that this machine does now, by any of torch's kernels."""
    from anomalib_zsad.backbone import kernels

    side = 4096 if device == "cpu" else 8192
    x = torch.randn(side, side, device=device).to(DTYPES[dtype])
    variants: list[Callable[[], object]] = [lambda: torch.nn.functional.linear(x, x)]
    if device == "cpu" and kernels._AVAILABLE:
        packed = torch.ops.mkldnn._reorder_linear_weight(x, side)
        variants += [lambda: kernels.inner_product(x, x), lambda: kernels.inner_product(x, packed)]
    return max(2 * side**3 / seconds(variant, device) for variant in variants for _ in range(tries))


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products and convolutions in a call on the CPU."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    enabled = torch.backends.mkldnn.flags(enabled=False)  # plain operations, which torch can count
    with enabled, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def memory(name: str, process: int | str = "self") -> float:
    """`VmRSS` (now) or `VmHWM` (peak) of a process, by default of this one, in MiB."""
    found = re.search(name + r":\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def row(what: str, measured: float, unit: str, must: str = "", aim: str = "", **details: Any) -> None:
    """One row of the table, as a line of JSON for `run.py`."""
    record = {"row": what, "measured": round(measured, 4), "unit": unit, "must": must, "aim": aim, "details": details}
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
