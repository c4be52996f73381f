"""Bayes-PFL; the Lightning module is imported at its first use, as scoring does without it."""

from typing import TYPE_CHECKING, Any

from .torch_model import BayesPFLModel

if TYPE_CHECKING:
    from .lightning_model import BayesPFL

__all__ = ["BayesPFL", "BayesPFLModel"]


def __getattr__(name: str) -> Any:
    """Load the Lightning module at its first use (PEP 562)."""
    if name != "BayesPFL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .lightning_model import BayesPFL

    globals()[name] = BayesPFL
    return BayesPFL
