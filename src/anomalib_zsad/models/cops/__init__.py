"""CoPS; the Lightning module is imported at its first use, as scoring does without it."""

from typing import TYPE_CHECKING, Any

from .torch_model import CoPSModel

if TYPE_CHECKING:
    from .lightning_model import CoPS

__all__ = ["CoPS", "CoPSModel"]


def __getattr__(name: str) -> Any:
    """Load the Lightning module at its first use (PEP 562)."""
    if name != "CoPS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .lightning_model import CoPS

    globals()[name] = CoPS
    return CoPS
