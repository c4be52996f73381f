"""What zero-shot methods share."""
