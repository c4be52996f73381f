"""Which files count as images, by their ending."""

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's `IMG_EXTENSIONS`, which anomalib goes by; importing them from there takes seconds."""
