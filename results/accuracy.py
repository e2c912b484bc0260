"""How exact are length and width? Of drawn shapes, and of real photos whose labels are known.

    python results/accuracy.py                                                  # drawn shapes, each at 13 angles
    python results/accuracy.py real --checkpoint RUN --data EXPORT              # prediction against ground truth

The first prints the errors of length and width; exit code 1 if a bound is broken.
A shape is drawn by its exact geometry: a pixel is crack if more than half of its 9 x 9 samples are.

The length meant is that of the smoothed centre line, which a sealing crew drives along. For a zigzag it is shorter than
the path along the teeth, with which it is compared here; the stated uncertainty has to cover that. Teeth nearer than
two or three crack widths run together in the mask, and nothing can measure them.

The second measures each photo's ground truth and its prediction as survey.py does, and prints the bias (mean of
prediction minus truth) and the 95 % limits of agreement (bias ± 1.96 standard deviations) of Bland and Altman,
"Statistical methods for assessing agreement between two methods of clinical measurement", Lancet 327, 1986.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import Parser, execute, number
from formats.coco import read_export
from inference import open_model
from model import predict
from quantify.measure import length_relative, measure
from quantify.specks import without_specks

# bounds for every shape but the zigzags
LENGTH_MEAN, LENGTH_WORST = 0.03, 0.06  # relative; of both lengths
WIDTH_MEAN, WIDTH_WORST = 0.5, 1.0  # pixels
# and for all of them
SIGMAS = 2  # of the stated uncertainty of the length: within these lies the path that was drawn

WIDTHS = (2, 3, 4, 5, 8, 12, 20)
FEWER_WIDTHS = (2, 4, 8, 20)
ANGLES = np.arange(13) * 7.5  # 0 to 90 degrees
SIDE, SAMPLES = 260, 9


@dataclass(frozen=True)
class Shape:
    """A crack to draw: inside(x, y) -> bool, about the middle."""

    name: str
    width: float  # px
    length: float  # px, of the path that was drawn
    inside: object
    jagged: bool = False


def draw(inside, angle_deg=0.0, shift=(0.0, 0.0), side=SIDE):
    """inside(x, y) -> bool about the middle, turned by angle_deg -> (side, side) uint8 mask."""
    fine = (np.arange(side * SAMPLES, dtype=np.float32) + 0.5) / SAMPLES - side / 2
    x, y = fine[None] - np.float32(shift[0]), fine[:, None] - np.float32(shift[1])
    cos, sin = np.float32(np.cos(np.radians(angle_deg))), np.float32(np.sin(np.radians(angle_deg)))
    hit = inside(x * cos + y * sin, y * cos - x * sin)
    share = cv2.resize(hit.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return (share > 0.5).astype(np.uint8)


def strip(length, width):
    """A straight crack with square ends."""
    return lambda x, y: (np.abs(x) <= length / 2) & (np.abs(y) <= width / 2)


def cross(length, width):
    """Two strips at right angles."""
    one = strip(length, width)
    return lambda x, y: one(x, y) | one(y, x)


def ring(radius, width):
    """A closed circle."""
    return lambda x, y: np.abs(np.hypot(x, y) - radius) <= width / 2


def arc(radius, half_deg, width):
    """A circular crack with square ends, half_deg to either side of x, moved to the middle."""

    def inside(x, y):
        x = x + radius * 0.7
        return (np.abs(np.hypot(x, y) - radius) <= width / 2) & (np.abs(np.arctan2(y, x)) <= np.radians(half_deg))

    return inside


def zigzag(step, amplitude, count, width):
    """`count` straight pieces, each `step` along x and from -amplitude to amplitude or back; width across a piece."""
    slope = 2 * amplitude / step

    def inside(x, y):
        place = x / step + count / 2  # in pieces, from the left end
        rising = np.abs(np.mod(place, 2) - 1)  # 1, 0, 1, ... at the corners
        middle = (1 - 2 * rising) * amplitude
        height = width * np.hypot(1, slope)
        return (np.abs(y - middle) <= height / 2) & (np.abs(x) <= count * step / 2)

    return inside


def zigzag_length(step, amplitude, count):
    """Pixels along the teeth."""
    return count * float(np.hypot(step, 2 * amplitude))


def shapes():
    """The list of what is drawn."""
    found = [Shape("strip", width, 180, strip(180, width)) for width in WIDTHS]
    found += [Shape("cross", width, 360, cross(180, width)) for width in FEWER_WIDTHS]
    found += [Shape("arc, radius 100", width, 100 * np.radians(100), arc(100, 50, width)) for width in FEWER_WIDTHS]
    for radius in (30, 80):
        found += [Shape(f"ring, radius {radius}", w, 2 * np.pi * radius, ring(radius, w)) for w in FEWER_WIDTHS]
    for step, amplitude, count, widths in ((20, 10, 8, (2, 4, 8)), (12, 6, 14, (2, 3, 4)), (8, 8, 20, (2, 3))):
        name, length = f"zigzag, {step} by {2 * amplitude}", zigzag_length(step, amplitude, count)
        found += [Shape(name, w, length, zigzag(step, amplitude, count, w), jagged=True) for w in widths]
    return found


@dataclass(frozen=True)
class Errors:
    """Of one shape, (13,) each: at every angle with a shift of its own."""

    length: np.ndarray  # relative
    traced: np.ndarray  # relative, of traced_length_px
    sigmas: np.ndarray  # the error of the length in stated standard deviations
    width: np.ndarray  # px, of the median width

    def within_bounds(self, jagged):
        """Does the shape keep the bounds at the top of this file?"""
        if np.abs(self.sigmas).max() > SIGMAS:
            return False
        if jagged:
            return True
        lengths = [np.abs(self.length), np.abs(self.traced)]
        mean, worst = max(e.mean() for e in lengths), max(e.max() for e in lengths)
        width = np.abs(self.width)
        length_good = mean <= LENGTH_MEAN and worst <= LENGTH_WORST
        return bool(length_good and width.mean() <= WIDTH_MEAN and width.max() <= WIDTH_WORST)


def errors(shape, rng):
    """Shape -> Errors."""
    found = [measure(draw(shape.inside, angle, rng.uniform(-0.5, 0.5, 2))) for angle in ANGLES]
    length = np.array([f["length_px"] for f in found])
    traced = np.array([f["traced_length_px"] for f in found])
    stated = np.array([f["length_px"] * length_relative(f["length_px"], f["traced_length_px"]) for f in found])
    return Errors(
        length=length / shape.length - 1,
        traced=traced / shape.length - 1,
        sigmas=(length - shape.length) / stated,
        width=np.array([f["width_median_px"] for f in found]) - shape.width,
    )


def three(values):
    """Bias, mean and worst, for the table."""
    words = f"{values.mean():+.2f}  {np.abs(values).mean():.2f}  {np.abs(values).max():.2f}"
    return words.rjust(22)


def print_shapes(rng):
    """Print a row a shape -> do all keep the bounds?"""
    lengths = "length error".rjust(22) + "traced length error".rjust(22)
    print("13 angles each".ljust(17) + "width".rjust(6) + lengths + " " * 10 + "width error".rjust(22))
    percent = "bias, mean, worst %".rjust(22)
    print(" " * 17 + "px".rjust(6) + percent + percent + "sigmas".rjust(10) + "bias, mean, worst px".rjust(22))
    good = True
    for shape in shapes():
        found = errors(shape, rng)
        row = f"{shape.name:<17}{shape.width:>6}{three(100 * found.length)}{three(100 * found.traced)}"
        row += f"{np.abs(found.sigmas).max():>10.1f}{three(found.width)}"
        if not found.within_bounds(shape.jagged):
            row += "   BROKEN"
            good = False
        print(row)
    print("sigmas: the worst error of the length in standard deviations as stated by measure.length_relative")
    print(
        f"bounds: {SIGMAS} sigmas; except for zigzags, lengths {LENGTH_MEAN:.0%} mean, {LENGTH_WORST:.0%} worst; "
        f"width {WIDTH_MEAN} px mean, {WIDTH_WORST} px worst"
    )
    return good


def drawn():
    """The table of drawn shapes -> exit code."""
    return 0 if print_shapes(np.random.default_rng(0)) else 1


# ------------------------------------------------------------------------------------------------ real photos
QUANTITIES = {"length_px": "length, px", "width_median_px": "median width, px", "width_p95_px": "95 % width, px"}


def measured(mask):
    """What survey.py says of a mask: {key of QUANTITIES: pixels}."""
    found = measure(without_specks(mask)[0])
    return {key: found[key] for key in QUANTITIES}


def agreement(truth, predicted):
    """(N,) truth and prediction, nan where undefined -> dict: n, mean_truth, bias, low, high (limits of agreement)."""
    both = ~np.isnan(truth) & ~np.isnan(predicted)
    off = predicted[both] - truth[both]
    bias, spread = np.nan, np.nan
    if len(off) > 1:
        bias, spread = float(off.mean()), 1.96 * float(off.std(ddof=1))
    mean = float(truth[both].mean()) if len(off) else np.nan
    return {"n": len(off), "mean_truth": mean, "bias": bias, "low": bias - spread, "high": bias + spread}


def chosen(export, part, most):
    """Photos of a part of an export ("all", or what its folders say), at most so many, evenly spread."""
    photos = [photo for photo in export.photos if part in ("all", photo.part)]
    places = np.linspace(0, len(photos) - 1, min(most, len(photos))).astype(int)
    return [photos[k] for k in np.unique(places)]


def compare(photos, answer):
    """Photos, function photo -> mask -> {key: (truth (N,), prediction (N,))}."""
    truths, predictions = [], []
    for item in tqdm(photos, "measuring", unit="photo", leave=False):
        photo, truth = item.read()
        truths.append(measured(truth))
        predictions.append(measured(answer(photo)))
    return {
        key: (np.array([found[key] for found in truths]), np.array([found[key] for found in predictions]))
        for key in QUANTITIES
    }


def print_agreement(results):
    """Print a row for each of QUANTITIES."""
    print(f"{'':<18}{'photos':>7}{'mean truth':>12}{'bias':>9}{'limits of agreement':>24}{'bias, % of truth':>18}")
    for key, (truth, predicted) in results.items():
        a = agreement(truth, predicted)
        limits = f"{a['low']:+.2f} to {a['high']:+.2f}"
        share = 100 * a["bias"] / a["mean_truth"]
        print(f"{QUANTITIES[key]:<18}{a['n']:>7}{a['mean_truth']:>12.2f}{a['bias']:>+9.2f}{limits:>24}{share:>+18.1f}")


def real(checkpoint, data, part, most):
    """Lengths and widths of predictions against those of the labels -> exit code."""
    model, preprocess, threshold = open_model(checkpoint, "cpu")
    photos = chosen(read_export(data), part, most)
    results = compare(photos, lambda photo: (predict(model, preprocess, photo) >= threshold).astype(np.uint8))
    print(f"{data}, {part}: {len(photos)} photos, {checkpoint} at threshold {threshold:.2f}")
    print_agreement(results)
    return 0


def arguments(argv):
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="real")
    real_photos = commands.add_parser("real", help="on a labelled export")
    real_photos.add_argument("--checkpoint", type=Path, required=True, help="best.pt or its run folder")
    real_photos.add_argument("--data", type=Path, required=True, help="COCO export")
    real_photos.add_argument("--part", default="all", help="train, valid or test of the export (default: all)")
    real_photos.add_argument(
        "--photos", type=number(int, 1), default=1000, help="at most so many (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Without arguments the drawn shapes, with `real` a network against labels."""
    args = arguments(argv)
    if args.command == "real":
        return real(args.checkpoint, args.data, args.part, args.photos)
    return drawn()


if __name__ == "__main__":
    execute(main)
