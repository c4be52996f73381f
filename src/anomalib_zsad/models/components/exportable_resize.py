"""The antialiased resize of the eager path, as matrix products that any graph can hold."""

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import Resize

from anomalib_zsad.backbone.kernels import is_traced

# torch's antialiased bicubic kernel, which is Pillow's: a is -0.5, and it reaches two pixels of the smaller scale.
_SHARPNESS = -0.5
_REACH = 2


class ExportableResize(Resize):
    """torchvision's antialiased bicubic `Resize`, which exports to ONNX and OpenVINO with input of any size.

    Neither format has torch's antialiased resize. Along each axis it is linear, so it is a matrix, whose weights depend
    on the image's size alone: in a graph they are computed from it. Outside of one, torchvision does the work. Both
    answer the same within 1e-6, and within 2e-6 where thousands of pixels become a few.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize an image (..., h, w); in a graph by matrices."""
        if not is_traced():
            return super().transform(inpt, params)
        height, width = self.size
        rows = interpolation_weights(inpt.shape[-2], height, inpt.device)
        columns = interpolation_weights(inpt.shape[-1], width, inpt.device)
        return rows @ (inpt.float() @ columns.T)


def interpolation_weights(size: int, wanted: int, device: torch.device | None = None) -> Tensor:
    """Weights (wanted, size) of antialiased bicubic interpolation along an axis, equal to torch's.

    Every step is in float32 and in torch's order, because the rounding of centres counts in images of thousands of
    pixels.

    Args:
        size: Pixels along the axis; may be a symbol of a graph.
        wanted: Pixels asked for.
        device: Where to compute.
    """
    pixels = torch.arange(size, dtype=torch.float32, device=device)
    number = pixels[-1:] + 1
    scale = number / wanted
    stretch = scale.clamp(min=1)
    centre = scale * (torch.arange(wanted, dtype=torch.float32, device=device) + 0.5)
    first = (centre - _REACH * stretch + 0.5).trunc().clamp(min=0)[:, None]
    end = torch.minimum((centre + _REACH * stretch + 0.5).trunc(), number)[:, None]
    distance = ((pixels - first) + (first - centre[:, None]) + 0.5) * (1 / stretch)
    inside = (pixels >= first) & (pixels < end)
    weights = torch.where(inside, _bicubic(distance.abs()), torch.zeros_like(distance))
    return weights / weights.sum(dim=1, keepdim=True)


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' kernel at a distance >= 0."""
    a = _SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * a
    return torch.where(distance < 1, near, torch.where(distance < _REACH, far, torch.zeros_like(distance)))
