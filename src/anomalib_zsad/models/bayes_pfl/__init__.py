"""Bayes-PFL."""
