"""The picture of the README: a photo beside the cracks that the network found in it, coloured by width.

    python results/story.py ../shared/data/sut/030.jpg --rows 100 420

The README shows it about 900 pixels wide, so its text is large enough to be read there. The photo in the README is
number 30 of SUT-Crack (CC BY 4.0); the weights in weights/ trained on no part of it.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs as a script

from command import Parser, execute
from formats.photo import read_photo
from formats.pictures import save_figure
from inference import crack_mask, open_model
from model import predict
from quantify.measure import measure
from report.figure import COLOURS, colours_of, width_map
from runs import SHIPPED

WIDTH = 12.3  # inches; at the 110 dots an inch of save_figure 1.5 times the 900 pixels at which it is shown
TEXT = 15  # points, which are 15 pixels at 900


def arguments(argv):
    parser = Parser("results/story.py", description=__doc__)
    parser.add_argument("photo", type=Path, help="photo with a crack")
    parser.add_argument(
        "--checkpoint", type=Path, default=SHIPPED, help="run or checkpoint (default: weights/crack.pt)"
    )
    parser.add_argument("--rows", type=int, nargs=2, metavar=("TOP", "BOTTOM"), help="show these rows (default: all)")
    parser.add_argument("--out", type=Path, default=Path("results/story.jpg"), help="default: %(default)s")
    return parser.parse_args(argv)


def coloured(photo, mask, measured, widest):
    """Copy of the (H, W, 3) photo with the crack in the colours of its width, 0 to `widest` pixels."""
    drawn = photo.copy()
    crack = mask > 0
    drawn[crack] = colours_of(width_map(mask, measured)[crack], (0, widest))
    return drawn


def story(photo, mask):
    """Photo and mask -> Matplotlib figure of the photo, and beside it its cracks coloured by width."""
    measured = measure(mask)
    widest = np.ceil(measured["width_max_px"])
    height, width = mask.shape
    fig = Figure(figsize=(WIDTH, WIDTH / 2 * height / width + 1.4), layout="constrained")
    (left, right), (text, bar) = fig.subplots(2, 2, height_ratios=(20, 1))
    left.imshow(photo)
    left.set_title("photo", fontsize=TEXT)
    right.imshow(coloured(photo, mask, measured, widest))
    right.set_title("cracks found, coloured by width", fontsize=TEXT)
    for axes in (left, right):
        axes.set(xticks=[], yticks=[], frame_on=False)
    x, y = measured["width_max_xy"]
    right.plot(x, y, "o", markersize=22, markerfacecolor="none", markeredgecolor="white", markeredgewidth=2.5)
    label = f"widest: {measured['width_max_px']:.0f} px"
    box = {"facecolor": "black", "alpha": 0.6}
    side = "right" if x > width / 2 else "left"  # towards the middle, so that it stays inside the photo
    right.annotate(label, (x, y), (0, 24), textcoords="offset points", ha=side, fontsize=TEXT, color="w", bbox=box)
    numbers = f"length {measured['length_px']:.0f} px, median width {measured['width_median_px']:.0f} px"
    text.text(0.5, 0, numbers, ha="center", va="center", fontsize=TEXT)
    text.set_axis_off()
    colours = ScalarMappable(cmap=ListedColormap(COLOURS / 255))
    colours.set_clim(0, widest)
    whole = MaxNLocator(integer=True)
    fig.colorbar(colours, cax=bar, orientation="horizontal", ticks=whole).set_label("crack width, px", fontsize=TEXT)
    bar.tick_params(labelsize=TEXT)
    return fig


def main(argv=None):
    args = arguments(argv)
    model, preprocess, threshold = open_model(args.checkpoint, "cpu")
    photo = read_photo(args.photo)
    mask, _ = crack_mask(predict(model, preprocess, photo), threshold)
    top, bottom = args.rows or (0, photo.shape[0])
    save_figure(args.out, story(photo[top:bottom], mask[top:bottom]))
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    execute(main)
