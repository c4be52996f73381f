"""Tests of how models are built to score."""
