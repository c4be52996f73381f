"""Two processes that share each batch train as one that has it alone."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from anomalib_zsad.data.seeded_sampler import SeededSampler
from anomalib_zsad.models.components.global_batch import Share, share_of_step
from tests.models import training_run
from tests.models.small import write_backbone
from tests.models.tester import CLIP

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """By method, the record of one process, and those of two."""
    folder = tmp_path_factory.mktemp("distributed")
    backbone = write_backbone(folder, 20, CLIP)
    training_run.draw_set(folder / "set")
    command = [sys.executable, "-m", "tests.models.training_run", str(folder), "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        method: (
            training_run.train(method, folder, backbone, devices=1),
            [torch.load(folder / f"{method}_{rank}.pt", weights_only=True) for rank in range(2)],
        )
        for method in training_run.METHODS
    }


@pytest.mark.parametrize("method", training_run.METHODS)
def test_losses_and_metrics_are_those_of_one_process(runs, method) -> None:
    """Also in the last step of an epoch, whose one image leaves the second process none, and on both processes."""
    alone, together = runs[method]
    assert len(alone["losses"]) == 3 * len(alone["epochs"][1:])
    assert set(alone["stages"]) == ({1} if method == "CoPS" else {1, 2})
    for record in together:
        assert record["stages"] == alone["stages"]
        # Rounding grows with the steps, and one run has an epoch of stage 1 more.
        tolerance = 1e-3 if method == "BayesPFL by the rule" else 1e-4
        assert record["losses"] == pytest.approx(alone["losses"], rel=tolerance, abs=1e-4)
        for metrics, expected in zip(record["epochs"], alone["epochs"], strict=True):
            assert metrics == pytest.approx(expected, abs=1e-3)
    assert {"train_loss", "train_class_loss", "pixel_AUPRO"} <= set(alone["epochs"][1])


@pytest.mark.parametrize("method", training_run.METHODS)
def test_gradients_are_those_of_one_process(runs, method) -> None:
    alone, together = runs[method]
    for record in together:
        for stage, expected in alone["gradients"].items():
            assert record["gradients"][stage].keys() == expected.keys()
            for name, value in expected.items():
                scale = float(value.abs().max())
                torch.testing.assert_close(
                    record["gradients"][stage][name], value, rtol=1e-3, atol=1e-3 * scale + 1e-6, msg=name
                )


@pytest.mark.parametrize("method", training_run.METHODS)
def test_parameters_end_as_those_of_one_process(runs, method) -> None:
    alone, together = runs[method]
    moved = {name: float((value - alone["initial"][name]).abs().max()) for name, value in alone["parameters"].items()}
    assert max(moved.values()) > 1e-3
    for record in together:
        for name, value in alone["parameters"].items():
            torch.testing.assert_close(record["parameters"][name], value, rtol=0, atol=2e-5, msg=name)


def test_both_processes_go_back_to_the_best_weights_and_on_to_stage_2(runs) -> None:
    """The first epoch is the best, two more end stage 1, and the fourth epoch begins where the second one did."""
    alone, together = runs["BayesPFL by the rule"]
    steps = len(alone["stages"]) // 4
    for record in (alone, *together):
        assert record["stages"] == [1] * 3 * steps + [2] * steps
        assert len(record["starts"]) == 4
        for name, value in record["starts"][3].items():
            assert torch.equal(value, record["starts"][1][name]), name
        moved = [
            name for name, value in record["starts"][2].items() if not torch.equal(value, record["starts"][3][name])
        ]
        assert moved


def test_stage_1_leaves_the_image_head_alone_and_stage_2_all_else(runs) -> None:
    for record in (runs["BayesPFL"][0], *runs["BayesPFL"][1]):
        first, second = ({name.split(".")[0] for name in record["gradients"][stage]} for stage in (1, 2))
        assert second == {"class_mapping", "image_mapping", "fusion"}
        assert first & second == {"class_mapping"}


@pytest.mark.parametrize("size", [3, 8, 9])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_processes_batches_together_are_those_of_one_process(size, world) -> None:
    batch, per_process = 4, 4 // world
    whole = list(SeededSampler(size, seed=5))
    for step, start in enumerate(range(0, size, batch)):
        expected = whole[start : start + batch]
        found = {}
        for rank in range(world):
            sampler = SeededSampler(size, seed=5, num_replicas=world, rank=rank)
            rows = list(sampler)[step * per_process : (step + 1) * per_process]
            share = share_of_step(trainer_of(sampler, per_process, world, rank), step, len(rows))
            assert share == Share(rank, world, len(expected))
            found.update(zip(range(rank, share.total, world), rows[: share.own], strict=True))
        assert [found[row] for row in range(len(expected))] == expected


def test_images_that_a_stock_sampler_repeats_do_not_count() -> None:
    for rank, own in ((0, 1), (1, 0)):
        sampler = DistributedSampler(range(5), num_replicas=2, rank=rank)
        assert share_of_step(trainer_of(sampler, 2, 2, rank), 1, 1) == Share(rank, 2, 1)
        assert Share(rank, 2, 1).own == own
        assert Share(rank, 2, 1).rows(torch.arange(1.0)).tolist() == [0.0]


def trainer_of(sampler: DistributedSampler, batch_size: int, world: int, rank: int) -> SimpleNamespace:
    """What a share is worked out from."""
    loader = DataLoader(sampler.dataset, sampler=sampler, batch_size=batch_size)
    processes = {"num_replicas": world, "rank": rank} if world > 1 else None
    return SimpleNamespace(distributed_sampler_kwargs=processes, train_dataloader=loader)
