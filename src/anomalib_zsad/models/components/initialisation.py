"""How the linear layers of both methods begin."""

from collections.abc import Sequence

from torch import nn

PUBLISHED_SD = 0.02


def init_linear_layers(model: nn.Module, leave_out: Sequence[nn.Module] = ()) -> None:
    """Draw the weights of all linear layers from a normal of standard deviation 0.02, with biases of 0.

    Args:
        model: Whose layers.
        leave_out: Layers that keep torch's own distribution.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear) and not any(module is other for other in leave_out):
            nn.init.normal_(module.weight, std=PUBLISHED_SD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
