"""Bayes-PFL."""

from .lightning_model import BayesPFL
from .torch_model import BayesPFLModel

__all__ = ["BayesPFL", "BayesPFLModel"]
