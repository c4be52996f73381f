"""Checkpoints as safetensors files: tensors, and everything else as JSON in the header. There is nothing to execute.

Such a file goes wherever a checkpoint goes: `--checkpoint`, `checkpoint=`, a Hub folder, a MONAI bundle.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from anomalib_zsad.outputs.atomic import write_bytes

SUFFIX = ".safetensors"
_HEADER = "anomalib_zsad_checkpoint"


def write_safe_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; the file appears whole or not at all.

    Args:
        path: The file.
        content: As a checkpoint of Lightning has it: `state_dict`, whose values are tensors or what JSON has (extra
            states), and further entries that JSON has.
    """
    state = content["state_dict"]
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items() if _is_tensor(value)}
    extra = {name: value for name, value in state.items() if not _is_tensor(value)}
    entries = {name: value for name, value in content.items() if name != "state_dict"}
    header = json.dumps({"extra": extra, "entries": entries}, allow_nan=False, sort_keys=True)
    write_bytes(path, save(tensors, {_HEADER: header}))  # one entry: the order of several is not fixed


def read_safe_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a safetensors file: of a checkpoint what was written, of another file its tensors by name.

    Raises:
        ValueError: The file or its header is damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(_HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if header is None:
        return tensors
    told = json.loads(header)
    return {**told["entries"], "state_dict": {**tensors, **told["extra"]}}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
