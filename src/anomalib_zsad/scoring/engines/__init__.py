"""Engines beside torch: a model's export, made once, kept on disk, and run as if it were the model."""
