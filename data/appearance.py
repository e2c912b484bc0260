"""How the photos of exports look, in numbers: to compare drawn roads with real ones.

    python data/appearance.py data/drawn my-export

For each export a row of a Markdown table, all at 512 pixels on the longer side: how much of a cracked photo is crack,
how wide the cracks are, how much darker than the road beside them, and how rough the road is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
import cv2
import numpy as np
from tqdm import tqdm

from command import Parser, execute
from data.align import contrast, disk
from formats.coco import read_export
from formats.photo import Preprocess
from quantify.skeleton import skeleton, widths

AROUND = 24  # pixels: sigma of the surroundings from which detail stands out
TEXTURE = 68  # percentile of that detail's size: one deviation of a normal distribution
HEADER = (
    "| set | photos | crack fraction, median and most | width, pixels | contrast, grey levels | texture, grey levels |"
)


def texture(grey, road):
    """(H, W) float32 grey values, (H, W) bool road -> size of the road's detail in grey levels."""
    detail = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), AROUND))
    return float(np.percentile(detail[road], TEXTURE)) if road.any() else np.nan


def row(root, photos):
    """Folder and [Photo] -> a row of the table; 10th percentile, median and 90th of each quantity."""
    fractions, wide, dark, rough = [], [], [], []
    for item in tqdm(photos, root.name, leave=False, unit="photo"):
        photo, mask = Preprocess().resize(*item.read())
        grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        rough.append(texture(grey, cv2.dilate(mask, disk(3)) == 0))
        if mask.any():
            fractions.append(mask.mean())
            wide.append(widths(mask, skeleton(mask)))
            dark.append(contrast(grey, mask))
    cells = [root.name, str(len(photos)), "none", "", "", spread(rough)]
    if fractions:
        cells[2] = f"{np.median(fractions):.1%}, {max(fractions):.0%}".replace("%", " %")
        cells[3], cells[4] = spread(np.concatenate(wide)), spread(dark)
    return f"| {' | '.join(cells)} |"


def spread(values):
    """The 10th percentile, median and 90th, as text."""
    return ", ".join(f"{value:.0f}" for value in np.nanpercentile(values, [10, 50, 90]))


def arguments(argv=None):
    parser = Parser("data/appearance.py", description=__doc__)
    parser.add_argument("exports", nargs="+", help="folders or .zip files of COCO exports")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    print(HEADER, "|---" * 6 + "|", sep="\n")
    for name in args.exports:
        export = read_export(name)
        print(row(export.root, export.photos), flush=True)
    return 0


if __name__ == "__main__":
    execute(main)
