"""How exact are length and width? Of drawn shapes, and of real photos whose labels are known.

    python results/accuracy.py                                                  # measure.py on shapes, at 13 angles
    python results/accuracy.py real --checkpoint RUN --data EXPORT              # prediction against ground truth

The first prints the errors of length and width and the time for 12 megapixels; exit code 1 if a bound is broken.
A shape is drawn by its exact distance function: a pixel is crack if more than half of its 9 x 9 samples are.

The second measures each photo's ground truth and its prediction as inference.py does, and prints the bias (mean of
prediction minus truth) and the 95 % limits of agreement (bias ± 1.96 standard deviations) of Bland and Altman,
"Statistical methods for assessing agreement between two methods of clinical measurement", Lancet 327, 1986; and draws
them.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from command import Parser, execute  # noqa: E402
from quantify import measure  # noqa: E402  (the repository is not a package)
from quantify.specks import without_specks  # noqa: E402

LENGTH_MEAN, LENGTH_WORST = 0.03, 0.06  # relative
WIDTH_MEAN, WIDTH_WORST = 0.5, 1.0  # pixels
SECONDS = 2.0
WIDTHS = (2, 3, 4, 5, 8, 12, 20)
ANGLES = np.arange(13) * 7.5  # 0 to 90 degrees
SIDE, SAMPLES = 260, 9


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


def shapes():
    """Name, width in px, inside function, true length in px."""
    for width in WIDTHS:
        yield "strip", width, strip(180, width), 180
    for width in WIDTHS[::2]:
        yield "cross", width, cross(180, width), 360
    for width in WIDTHS[::2]:
        yield "arc, radius 100", width, arc(100, 50, width), 100 * np.radians(100)
    for radius in (30, 80):
        for width in WIDTHS[::2]:
            yield f"ring, radius {radius}", width, ring(radius, width), 2 * np.pi * radius


def errors(inside, width, length, rng):
    """-> (13,) relative errors of length, (13,) errors in px of the median width; each angle at its own shift."""
    found = [measure.measure(draw(inside, angle, rng.uniform(-0.5, 0.5, 2))) for angle in ANGLES]
    return (
        np.array([f["length_px"] / length - 1 for f in found]),
        np.array([f["width_median_px"] - width for f in found]),
    )


def wander(rng, bend, height, width):
    """A path (N, 2) of 2 px steps that turns by bend radians a step, from anywhere in the photo."""
    steps = int(rng.uniform(300, 1500))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, steps))
    return rng.uniform((0, 0), (width, height)) + np.cumsum(2 * np.stack([np.cos(heading), np.sin(heading)], 1), 0)


def cracks_12_megapixels(rng, height=3024, width=4032, fraction=0.03):
    """Wandering cracks 8 to 70 px wide with rough edges, over 3 % of the photo: (height, width) uint8."""
    mask = np.zeros((height, width), np.uint8)
    while mask.mean() < fraction:
        path, radius = wander(rng, 0.03, height, width), rng.uniform(4, 35)
        swell = 1 + 2 * cv2.GaussianBlur(rng.normal(0, 1, (1, len(path))), (0, 0), 8)[0]
        for (x, y), part in zip(path, swell, strict=True):
            cv2.circle(mask, (int(x), int(y)), max(2, int(radius * part)), 1, cv2.FILLED)
    rough = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), 3)
    return (cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3) + rough > 0.5).astype(np.uint8)


def network_12_megapixels(rng, height=3024, width=4032, fraction=0.03):
    """Crossing cracks 2 to 6 px wide and 150 px long, over 3 % of the photo: (height, width) uint8."""
    mask = np.zeros((height, width), np.uint8)
    while mask.mean() < fraction:
        path = np.rint(wander(rng, 0.06, height, width)[:75]).astype(np.int32)
        cv2.polylines(mask, [path], False, 1, int(rng.integers(2, 7)))
    return mask


def specks_12_megapixels(rng, height=3024, width=4032, count=10_000):
    """Dots of 1 to 7 px, as a bad threshold leaves them: (height, width) uint8."""
    mask = np.zeros((height, width), np.uint8)
    for x, y in rng.integers(0, (width, height), (count, 2)).tolist():
        cv2.circle(mask, (x, y), int(rng.integers(0, 4)), 1, cv2.FILLED)
    return mask


def timings(rng):
    """Prints a row for each kind of mask of 12 megapixels -> the most seconds of processor time, best of 3 each.

    Processor time of all threads: on free cores the clock shows no more, and a busy machine doesn't change it.
    """
    wide, fine, specks = (draw(rng) for draw in (cracks_12_megapixels, network_12_megapixels, specks_12_megapixels))
    most = 0
    for name, mask in {
        "wide cracks": wide,
        "fine network": fine,
        "specks": specks,
        "all": wide | fine | specks,
    }.items():
        seconds = []
        for _ in range(3):
            start = time.process_time()
            found = measure.measure(mask)
            seconds.append(time.process_time() - start)
        print(
            f"{mask.size / 1e6:.1f} MP, {name:<12} {mask.mean():5.1%} crack, {len(found['branches']):>5} branches: "
            f"{min(seconds):.2f} s of processor time, best of 3, bound {SECONDS} s"
        )
        most = max(most, min(seconds))
    return most


def drawn():
    """The table of drawn shapes -> exit code."""
    rng, good = np.random.default_rng(0), True
    print(f"{'13 angles each':<17}{'width':>6}{'length error':>22}{'width error':>22}")
    print(f"{'':<17}{'px':>6}{'bias, mean, worst %':>22}{'bias, mean, worst px':>22}")
    for name, width, inside, length in shapes():
        along, across = errors(inside, width, length, rng)
        numbers = [(e.mean(), np.abs(e).mean(), np.abs(e).max()) for e in (100 * along, across)]
        row_good = bool(
            np.abs(along).mean() <= LENGTH_MEAN
            and np.abs(along).max() <= LENGTH_WORST
            and np.abs(across).mean() <= WIDTH_MEAN
            and np.abs(across).max() <= WIDTH_WORST
        )
        text = "".join(f"{f'{b:+.2f}  {m:.2f}  {w:.2f}':>22}" for b, m, w in numbers)
        print(f"{name:<17}{width:>6}{text}{'' if row_good else '   BROKEN'}")
        good &= row_good
    print(f"bounds: length {LENGTH_MEAN:.0%} mean, {LENGTH_WORST:.0%} worst; width {WIDTH_MEAN} px, {WIDTH_WORST} px")
    return 0 if timings(rng) <= SECONDS and good else 1


# ------------------------------------------------------------------------------------------------ real photos
QUANTITIES = {"length_px": "length, px", "width_median_px": "median width, px", "width_p95_px": "95 % width, px"}


def measured(mask):
    """What inference.py says of a mask: {key of QUANTITIES: pixels}."""
    found = measure.measure(without_specks(mask)[0])
    return {key: found[key] for key in QUANTITIES}


def agreement(truth, predicted):
    """(N,) truth and prediction, nan where undefined -> dict: n, mean_truth, bias, low, high (limits of agreement)."""
    both = ~np.isnan(truth) & ~np.isnan(predicted)
    off = predicted[both] - truth[both]
    bias, spread = (float(off.mean()), 1.96 * float(off.std(ddof=1))) if len(off) > 1 else (np.nan, np.nan)
    mean = float(truth[both].mean()) if len(off) else np.nan
    return {"n": len(off), "mean_truth": mean, "bias": bias, "low": bias - spread, "high": bias + spread}


def chosen(export, part, most):
    """Photos of a part of an export ("all", or what its folders say), at most so many, evenly spread."""
    photos = [photo for photo in export.photos if part in ("all", photo.part)]
    return [photos[k] for k in np.unique(np.linspace(0, len(photos) - 1, min(most, len(photos))).astype(int))]


def compare(photos, answer):
    """Photos, function photo -> mask -> {key: (truth (N,), prediction (N,))}."""
    from tqdm import tqdm

    pairs = []
    for item in tqdm(photos, "measuring", unit="photo", leave=False):
        photo, truth = item.read()
        pairs.append((measured(truth), measured(answer(photo))))
    return {
        key: tuple(np.array([found[key] for found in side]) for side in zip(*pairs, strict=True)) for key in QUANTITIES
    }


def print_agreement(results):
    print(f"{'':<18}{'photos':>7}{'mean truth':>12}{'bias':>9}{'limits of agreement':>24}{'bias, % of truth':>18}")
    for key, sides in results.items():
        a = agreement(*sides)
        limits = f"{a['low']:+.2f} to {a['high']:+.2f}"
        share = 100 * a["bias"] / a["mean_truth"]
        print(f"{QUANTITIES[key]:<18}{a['n']:>7}{a['mean_truth']:>12.2f}{a['bias']:>+9.2f}{limits:>24}{share:>+18.1f}")


def scatter(results, title, path):
    """Above prediction over truth, below their difference over their mean with bias and limits; a column a quantity."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(13, 8), layout="constrained")
    fig.suptitle(title)
    for (key, (truth, predicted)), (above, below) in zip(results.items(), fig.subplots(2, 3).T, strict=True):
        a, longest = agreement(truth, predicted), max(np.nanmax(truth), np.nanmax(predicted))
        above.plot([0, longest], [0, longest], color="0.6", linewidth=1)
        above.plot(truth, predicted, ".", color="#0072b2")
        above.set(xlabel=f"{QUANTITIES[key]}, ground truth", ylabel="prediction")
        below.plot((truth + predicted) / 2, predicted - truth, ".", color="#0072b2")
        for name, style in (("low", "--"), ("bias", "-"), ("high", "--")):
            below.axhline(a[name], linestyle=style, color="#e69f00", label=f"{name} {a[name]:+.2f}")
        below.set(xlabel="mean of both", ylabel="prediction minus truth")
        below.legend(fontsize=8)
    fig.savefig(path, dpi=100)


def real(args):
    """Lengths and widths of predictions against those of the labels -> exit code."""
    if not args.data.exists():
        print(f"skipped: {args.data} is not there")
        return 0
    from formats.coco import read_export
    from inference import open_model, predict

    model, preprocess, threshold = open_model(args.checkpoint, "cpu")
    photos = chosen(read_export(args.data), args.part, args.photos)
    results = compare(photos, lambda photo: (predict(model, preprocess, photo) >= threshold).astype(np.uint8))
    print(f"{args.data}, {args.part}: {len(photos)} photos, {args.checkpoint} at threshold {threshold:.2f}")
    print_agreement(results)
    if args.out:
        scatter(results, f"{args.data.name}, {args.part}, {len(photos)} photos: prediction and ground truth", args.out)
        print(f"drawn: {args.out}")
    return 0


def main(argv=None):
    parser = Parser(description=__doc__)
    real_photos = parser.add_subparsers(metavar="real").add_parser("real", help="on a labelled export")
    real_photos.add_argument("--checkpoint", type=Path, required=True, help="best.pt or its run folder")
    real_photos.add_argument("--data", type=Path, required=True, help="COCO export; without it the check is skipped")
    real_photos.add_argument("--part", default="all", help="train, valid or test of the export (default: all)")
    real_photos.add_argument("--photos", type=int, default=1000, help="at most so many (default: %(default)s)")
    real_photos.add_argument("--out", type=Path, metavar="PNG", help="scatter plot")
    real_photos.set_defaults(run=real)
    args = parser.parse_args(argv)
    return args.run(args) if "run" in args else drawn()


if __name__ == "__main__":
    execute(main)
