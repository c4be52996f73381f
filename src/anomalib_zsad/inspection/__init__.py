"""Score every image below a folder, and show them sorted by score."""
