"""Checkpoint files of every age are read, and only read."""

from pathlib import Path

import pytest
import torch

from anomalib_zsad.models.components.checkpoint import CheckpointError, open_checkpoint


@pytest.mark.parametrize("archive", [True, False])
def test_files_of_either_kind_are_read_and_left_as_they_are(archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"a": torch.arange(5.0)}}, path, _use_new_zipfile_serialization=archive)
    before = path.read_bytes()
    tensor = open_checkpoint(path)["state_dict"]["a"]
    assert torch.equal(tensor, torch.arange(5.0))
    tensor.zero_()
    assert path.read_bytes() == before


def test_what_was_read_stays_when_the_file_is_replaced(tmp_path: Path) -> None:
    path, newer = tmp_path / "model.ckpt", tmp_path / "newer.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1000)}}, path)
    torch.save({"state_dict": {"a": torch.zeros(3)}}, newer)
    content = open_checkpoint(path)
    newer.replace(path)
    assert torch.equal(content["state_dict"]["a"], torch.ones(1000))


@pytest.mark.parametrize("cut", [0, 10, 700, -1])
def test_a_damaged_file_is_told(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint: it is damaged, incomplete"):
        open_checkpoint(path)
