"""The demonstration: drawn sample data and a small CLIP pretrained on drawings (not a product)."""
