"""Zero-shot methods."""
