"""The demonstration: drawn sample data and a small CLIP pretrained on drawings (not a product)."""

AUXILIARY_CATEGORIES = ("fabric", "metal_plate", "tablet", "tile", "washer", "wood")
"""Categories of ``sample_data/industrial`` to train on."""

UNSEEN_CATEGORIES = ("biscuit", "circuit_board", "knitwear", "leather")
"""Categories of ``sample_data/industrial`` that neither pretraining nor auxiliary training has drawn."""
