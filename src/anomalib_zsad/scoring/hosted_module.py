"""What stands for a Lightning module where only scores are asked for, such as a model by another engine or in tiles."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self


class StandIn:
    """What stands where commands that only score expect a Lightning module: it holds a model and describes itself.

    Attributes:
        name: Name of the method, or of the class of anomalib's.
        model: What answers: `model(images, class_names)`.
        description: What decides the answers, for reports and calibrations.
    """

    name: str
    model: nn.Module
    description: dict[str, Any]

    def eval(self) -> Self:
        """Put the model into evaluation mode."""
        self.model.eval()
        return self

    def to(self, device: torch.device | str) -> Self:
        """Bring the model to a device."""
        self.model.to(device)
        return self


class HostedModule(StandIn):
    """A model that answers otherwise than its Lightning module: by another engine, in another precision, in tiles.

    Args:
        source: The module that it was made of, a Lightning module of this package or what stands for one; it is not
            kept.
        model: What answers: `model(images, class_names)`.
        description: What decides the answers, for reports and calibrations.
        transform: Brings an image (3, h, w) in [0, 1] to what the model takes; `None` for the source's.

    Attributes:
        name: Name of the method, or of the class of anomalib's.
        method_class: Class of the module.
        class_name: What images show, where nothing else says it.
        trained: Whether the weights come from a checkpoint.
        own_scale: Whether scores are on a scale of the model's own.
        remarks: What a reader of figures must know of it.
    """

    def __init__(
        self,
        source: Any,
        model: nn.Module,
        description: Mapping[str, Any],
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.method_class: type = class_of(source)
        self.name: str = source.name if is_stand_in(source) else type(source).__name__
        self.model = model.eval()
        self.pre_processor = SimpleNamespace(transform=transform or source.pre_processor.transform)
        self.class_name: str | None = source.class_name
        self.trained: bool = source.trained
        self.own_scale: bool = getattr(source, "own_scale", False)
        self.remarks: tuple[str, ...] = getattr(source, "remarks", ())
        self.description = dict(description)


def is_stand_in(module: Any) -> bool:
    """Whether something stands for a Lightning module, and describes itself."""
    return isinstance(module, StandIn)


def class_of(module: Any) -> type:
    """The class of a Lightning module, or of that which something stands for."""
    return getattr(module, "method_class", type(module))
