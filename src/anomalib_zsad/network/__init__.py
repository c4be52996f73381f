"""Other machines: where results are sent."""
