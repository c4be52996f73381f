"""Picture of a page for the documentation: python -m tests.pages.screenshots PAGE PICTURE [--size 1440 1000].

The pictures in docs/images were made from what `make demo` leaves:

    python -m tests.pages.screenshots demo_output/screening/head_ct/SERIES/report.html docs/images/report_series.png \
        --size 1440 1160
    anomalib-zsad inspect -i sample_data/industrial/tile/test -o tiles --class-name tile \
        --checkpoint demo_output/BayesPFL/BayesPFL/industrial/v0/weights/lightning/model.ckpt
    anomalib-zsad screen -i sample_data/medical/head_ct/images/bleed -o volume --checkpoint SAME --class-name brain \
        --threshold 0.55 --viewer niivue
    python -m tests.pages.screenshots volume/SERIES/viewer.html docs/images/viewer_3d.png --size 1440 900 --webgl
    python -m tests.pages.screenshots tiles/report.html docs/images/report_gallery.png --size 1440 820
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.pages.browser import Browser

LARGEST = 400_000


def main() -> None:
    """Open a page, run a script in it if one is given, and keep the picture; large ones in 256 colours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(1440, 1000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--webgl", action="store_true", help="for viewer.html")
    parser.add_argument("--script", default="", help="JavaScript to run before the picture is taken")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile), webgl=options.webgl)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if options.dark else "light"}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.open(options.page.resolve(), tuple(options.size))
        browser.run(options.script)
        for _ in range(30 if options.webgl else 10):
            browser.pause()
        content = browser.driver.get_screenshot_as_png()
        browser.driver.quit()
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.save(options.picture, optimize=True)
    if options.picture.stat().st_size > LARGEST:
        image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(
            options.picture, optimize=True
        )


if __name__ == "__main__":
    main()
