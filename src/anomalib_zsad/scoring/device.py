"""The device that a command runs on."""

import torch
from torch import nn


def resolve_device(device: str) -> torch.device:
    """The device of a name.

    Args:
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, `mps`, ...

    Raises:
        ValueError: If there is none of that name, or none on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; give auto, cpu, cuda or cuda:N") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device is available; give --device cpu or auto")
    try:
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:  # each kind of device says it in its own way
        raise ValueError(f"there is no device {device!r} to compute on; give --device cpu or auto") from error
    return found


def device_of(model: nn.Module) -> torch.device:
    """Where a torch model is, judged by its first parameter or buffer."""
    return next((tensor.device for tensor in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
