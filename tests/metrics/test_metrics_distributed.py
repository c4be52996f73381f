"""The streaming metrics in several processes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from anomalib_zsad.metrics import ScoreSummary
from anomalib_zsad.metrics.curves import auroc


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(100, generator=generator) > 0.6
    return torch.randn(100, generator=generator) + labels, labels


# What each of two processes sees; in the second case one sees nothing.
SHARES = [(slice(0, 30), slice(30, 100)), (slice(0, 100), slice(0, 0))]


def measure(rank: int, folder: str) -> None:
    """What one process does: update with its shares, and write the values that it gets."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    scores, labels = samples()
    values = []
    for share in SHARES:
        metric = ScoreSummary()
        if len(scores[share[rank]]):
            metric.update(scores[share[rank]], labels[share[rank]])
        values.append(auroc(metric.compute()))
    Path(folder, f"values_{rank}").write_text("\n".join(map(repr, values)))
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_value_over_two_processes_is_that_of_one(tmp_path: Path) -> None:
    """Also where one process saw no samples at all."""
    multiprocessing.spawn(measure, args=(str(tmp_path),), nprocs=2)
    metric = ScoreSummary()
    metric.update(*samples())
    expected = auroc(metric.compute())
    for rank in range(2):
        values = [float(value) for value in (tmp_path / f"values_{rank}").read_text().split()]
        assert values == pytest.approx([expected] * 2)
