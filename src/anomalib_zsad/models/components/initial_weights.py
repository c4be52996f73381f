"""How the linear layers of a new model start."""

from collections.abc import Collection

from torch import nn

# Standard deviation of a linear layer's first weights, in both published implementations.
STANDARD_DEVIATION = 0.02


def start_linear_layers(module: nn.Module, leave_out: Collection[nn.Module] = ()) -> None:
    """Draw every linear layer's weights from N(0, 0.02) and set its bias to 0.

    Args:
        module: The module whose layers, at any depth, are started.
        leave_out: Layers that keep what they have.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear) and part not in leave_out:
            nn.init.normal_(part.weight, std=STANDARD_DEVIATION)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
