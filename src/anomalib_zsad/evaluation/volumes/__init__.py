"""Evaluation of volumes for readers: patients, volumes, slices and lesions instead of pixels."""
