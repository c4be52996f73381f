"""Protocols, metrics and published figures: numbers one can trust."""
