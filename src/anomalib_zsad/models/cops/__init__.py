"""CoPS."""

from .lightning_model import CoPS
from .torch_model import CoPSModel

__all__ = ["CoPS", "CoPSModel"]
