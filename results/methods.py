"""Can cracks be found without learning? Three classical detectors at their best settings, an empty mask, trained runs.

The settings of each detector are those of its grid with the highest mean IoU on the training photos; only then are the
test photos read, once. Lengths are in pixels of the photo, so the photos should be taken from about one distance.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs as a script

import metrics
from command import BadInput, choose_device, execute, flags, write_json
from data.split import split
from dataset import find_export, open_data
from evaluate import known_photos, open_network, score
from formats.pictures import save_figure
from report import evaluation
from results.tables import table as markdown
from runs import run_of

KEYS = ("iou_cracked", "f1_2px", "cldice", "precision", "recall", "iou_all", "undamaged_correct")  # of the table
ALL_BLACK, OURS = "all black", "ours"
LOW = 0.4  # of Canny's upper threshold: he advises a ratio of two or three to one
DIRECTIONS = np.arange(0, 180, 15)  # degrees; neighbours are 2 pixels apart at the ends of a line of 17


# ------------------------------------------------------------------------------------------- detectors


def smoothed(photo, smooth):
    """(H, W, 3) uint8 RGB -> (H, W) float32 grey, blurred by a Gaussian of sigma `smooth`."""
    return cv2.GaussianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), smooth)


def darker_than_around(grey, block, below):
    """What `smoothed` gave -> 1 where `below` or more grey levels darker than the mean of the block × block around."""
    grey = np.rint(grey).astype(np.uint8)
    return cv2.adaptiveThreshold(grey, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, block, below)


def gradient(photo, smooth):
    """Photo -> (dx, dy) int16 as Canny takes them, and the median of their length, which that of the texture is."""
    image = smoothed(photo, smooth)
    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0, scale=16)  # 16, so that flat slopes count in whole numbers
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1, scale=16)
    return dx.astype(np.int16), dy.astype(np.int16), float(np.median(np.hypot(dx, dy)))


def edges(slopes, strong):
    """What `gradient` gave -> (H, W) uint8 0/1, Canny's edges: `strong` times as steep as the median of the photo."""
    dx, dy, usual = slopes
    return cv2.Canny(dx, dy, LOW * strong * usual, strong * usual, L2gradient=True) // 255


def between_edges(slopes, strong, gap):
    """`edges` with everything filled that lies between two less than `gap` apart: a crack has an edge on each side."""
    return cv2.morphologyEx(edges(slopes, strong), cv2.MORPH_CLOSE, ellipse(gap))


def ellipse(size):
    """Round kernel of this diameter, for OpenCV's morphology."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def line(length, degrees):
    """(length, length) uint8 with a straight line through the middle."""
    kernel, middle, angle = np.zeros((length, length), np.uint8), length // 2, np.radians(degrees)
    x, y = round(middle * np.cos(angle)), round(middle * np.sin(angle))
    return cv2.line(kernel, (middle - x, middle - y), (middle + x, middle + y), 1)


def black_hat(photo, smooth, size, length):
    """Photo -> (H, W) float32: how much darker than if all dark things narrower than `size` were filled up.

    Of these, only what holds a straight line of `length` pixels in some direction stays: stones' gaps are as dark as
    cracks, but short. Beside it the median and the median distance from it.
    """
    hat = cv2.morphologyEx(smoothed(photo, smooth), cv2.MORPH_BLACKHAT, ellipse(size))
    opened = (cv2.morphologyEx(hat, cv2.MORPH_OPEN, line(length, degrees)) for degrees in DIRECTIONS)
    hat = np.maximum.reduce(list(opened))
    middle = float(np.median(hat))
    return hat, middle, float(np.median(np.abs(hat - middle)))


def far_above(response, above):
    """What `black_hat` gave -> 1 where it is `above` median distances above its median."""
    hat, middle, spread = response
    return (hat > middle + above * spread).astype(np.uint8)


def long_pieces(mask, lengths):
    """(H, W) 0/1 -> for each of `lengths` the mask without the pieces whose bounding box has a shorter diagonal."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    reach = np.hypot(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
    reach[0] = -1  # the road
    for least in lengths:
        yield (reach >= least).astype(np.uint8)[labels]


@dataclass(frozen=True)
class Method:
    """A detector in three steps; a search takes the costly first one once for all settings of the others."""

    why: str
    first: Callable  # (photo, **settings) -> response
    then: Callable  # (response, **settings) -> (H, W) uint8 0/1, of which short pieces go
    of_first: dict  # {setting: values to try}
    of_then: dict
    least: tuple = (20, 40, 80, 120)  # shortest piece that stays

    @property
    def grid(self):
        """All settings as [{setting: value}], in the order of `masks`."""
        every = self.of_first | self.of_then | {"least": self.least}
        return [dict(zip(every, values, strict=True)) for values in product(*every.values())]

    def masks(self, photo, of_first, of_then, least):
        """(H, W, 3) uint8 RGB -> a (H, W) uint8 0/1 mask for every combination of the values given."""
        for values in product(*of_first.values()):
            response = self.first(photo, *values)
            for others in product(*of_then.values()):
                yield from long_pieces(self.then(response, *others), least)

    def detect(self, photo, settings):
        """The one mask of {setting: value}: what the search scored under these settings."""
        chosen = ({key: [settings[key]] for key in part} for part in (self.of_first, self.of_then))
        return next(self.masks(photo, *chosen, [settings["least"]]))


METHODS = {
    "adaptive threshold": Method(
        "a crack is darker than the road around it, wherever light and shadow put the grey level",
        smoothed,
        darker_than_around,
        {"smooth": (0.7, 1, 2)},
        {"block": (15, 31, 61), "below": (4, 7, 10, 14, 20)},
    ),
    "Canny edges": Method(
        "a crack has two sharp edges close together; the space between them is filled",
        gradient,
        between_edges,
        {"smooth": (1, 1.5, 2, 3)},
        {"strong": (3, 4, 5), "gap": (5, 7, 11, 15)},
    ),
    "black-hat": Method(
        "a crack is dark, narrow and long; how dark, the photo's own texture says",
        black_hat,
        far_above,
        {"smooth": (1, 2, 3), "size": (5, 7, 11), "length": (1, 17)},
        {"above": (3, 5, 8)},
        (20, 40, 80),
    ),
}


# ---------------------------------------------------------------------------------------------- choice


def search(method, photos):
    """Every combination of the grid on the photos -> its iou_cracked and its f1_2px, both (combinations,)."""
    found = []
    for item in tqdm(photos, "choosing settings", leave=False, unit="photo"):
        photo, truth = item.read()
        masks = method.masks(photo, method.of_first, method.of_then, method.least)
        found.append([(metrics.counts(mask, truth), metrics.tolerant_counts(mask, truth)) for mask in masks])
    counts, near = np.moveaxis(found, 2, 0)  # (photos, combinations, 4) each
    cracked = metrics.true_pixels(counts[:, 0]) > 0
    return metrics.iou(counts[cracked]).mean(axis=0), np.nan_to_num(metrics.f1(near.sum(axis=0)))


def choose(photos):
    """{method: {"settings" with the highest iou_cracked on these photos, "settings_f1_2px", what the search was}}."""
    found = {}
    for name, method in METHODS.items():
        began = time.perf_counter()
        iou, f1 = search(method, photos)
        grid = method.of_first | method.of_then | {"least": method.least}
        found[name] = {
            "why": method.why,
            "grid": grid,
            "combinations": len(iou),
            "settings": method.grid[iou.argmax()],
            "train_iou_cracked": float(iou.max()),
            "settings_f1_2px": method.grid[f1.argmax()],
            "train_f1_2px": float(f1.max()),
            "seconds": round(time.perf_counter() - began, 1),
        }
        print(f"{name}: {found[name]['settings']}, best of {len(iou)} in {found[name]['seconds']:.0f} s", flush=True)
    return found


def answers(chosen):
    """{row of the table: its predictor of evaluate.py}; of the method with the best f1_2px that choice too."""

    def by(name, settings):
        return lambda item, photo: (METHODS[name].detect(photo, settings), None)

    found = {ALL_BLACK: lambda item, photo: (np.zeros(photo.shape[:2], np.uint8), None)}
    found |= {name: by(name, choice["settings"]) for name, choice in chosen.items()}
    best = max(chosen, key=lambda name: chosen[name]["train_f1_2px"])
    return found | {f"{best}, by f1_2px": by(best, chosen[best]["settings_f1_2px"])}


# ---------------------------------------------------------------------------------------------- result


def gathered(runs):
    """[Scored], the seeds of one method -> what methods.json says: means, lowest and highest, interval over photos."""
    sheets = {key: [run.sheet[key] for run in runs] for key in metrics.MEANING}
    found = evaluation.facts(runs[0]) | {key: metrics.mean(values) for key, values in sheets.items()}
    found["iou_cracked_interval"] = metrics.interval(each_photo(runs), limits=(0, 1))
    found["lowest_highest"] = {key: [min(values), max(values)] for key, values in sheets.items()}
    return found | {"scored": [run.name for run in runs]}


def each_photo(runs):
    """(photos with a crack,) IoU of each, mean of the seeds: the photos are one sample, however many seeds."""
    return np.mean([run.iou() for run in runs], axis=0)


def results(scored):
    """{row of the table: [Scored]} -> {row: what `gathered` gave, and how far ours is ahead of it, photo by photo}."""
    found = {name: gathered(runs) for name, runs in scored.items()}
    if OURS not in found:
        return found
    for name in found.keys() - {OURS}:
        gain = each_photo(scored[OURS]) - each_photo(scored[name])
        found[name]["ours_ahead"] = {"difference": metrics.mean(gain), "interval": metrics.interval(gain)}
    return found


def cell(found, key):
    """A score, with the lowest and highest where there are several seeds."""
    low, high = found["lowest_highest"][key]
    if len(found["scored"]) == 1:
        return f"{found[key]:.3f}"
    return f"{found[key]:.3f} ({low:.3f} to {high:.3f})"


def table(found):
    """{row: what `results` gave} -> Markdown."""
    rows = []
    for name, row in found.items():
        first, *others = (cell(row, key) for key in KEYS)
        rows.append([name, first, evaluation.span(row["iou_cracked_interval"]), *others])
    return markdown(["method", KEYS[0], "95 % interval", *KEYS[1:]], rows)


# --------------------------------------------------------------------------------------------- picture


def shown(photos):
    """Of drawn photos one with little crack and one with much (quartiles of its area), and one without."""
    cracked = sorted((photo for photo in photos if photo.cracked), key=lambda photo: photo.mask().sum())
    sound = [photo for photo in photos if not photo.cracked]
    return [cracked[len(cracked) // 4], cracked[3 * len(cracked) // 4], *sound[:1]]


def titled(name, mask, truth):
    """The name, and how right the mask is."""
    c = metrics.counts(mask, truth)
    if truth.any():
        return f"{name}: IoU {metrics.iou(c):.2f}"
    return f"{name}: {c[1] / c.sum():.1%} called crack"


def panels(item, named, canny):
    """{title: (H, W, 3) uint8}, eight of them: the photo, its truth, Canny's edges, the answers of five methods."""
    photo, truth = item.read()
    masks = {name: answer(item, photo)[0] for name, answer in list(named.items())[-5:]}  # all black shows nothing
    titles = {titled(name, mask, truth): mask for name, mask in masks.items()}
    images = evaluation.panels(photo, truth, titles)
    lines = edges(gradient(photo, canny["smooth"]), canny["strong"])
    edge_map = {"Canny's edges before they are filled": cv2.cvtColor(255 * lines, cv2.COLOR_GRAY2RGB)}
    return {key: images[key] for key in ("photo", "ground truth")} | edge_map | images


def picture(photos, named, canny, title):
    """Figure: two rows of four panels for each photo; `canny` are the settings of the edges."""
    items = []
    for item in photos:
        every = list(panels(item, named, canny).items())
        for first, *others in (every[:4], every[4:]):
            label, image = first
            items.append((label, {"photo": image} | dict(others)))  # the label stands above the panel "photo"
    return evaluation.rows_figure(items, title)


def open_runs(paths, test, device):
    """[(name, predictor of evaluate.py)] of runs and checkpoints; says where one was trained on a test photo."""
    opened = []
    for path in paths:
        folder = run_of(path).folder
        known_photos(test, path, folder)
        opened.append((folder.resolve().name, open_network(path, device)))
    return opened


def arguments(argv):
    parser = flags(
        "Score adaptive threshold, Canny edges, black-hat, an empty mask and trained runs on the test photos. The "
        "settings of the detectors are chosen on the training photos. Prints a table; writes methods.json and, on "
        "drawn photos, methods.jpg.",
        "python results/methods.py --out results/methods",
        "python results/methods.py --data my-export --run runs/seed-0 runs/seed-1 --out results/methods",
    )
    add = parser.add_argument
    add("--data", metavar="EXPORT", help="folder or .zip of a COCO export (default: data/sample)")
    add("--splits", type=Path, metavar="FILE", help="splits.json: which photo is in which part")
    run = "trained runs, the same with several seeds: their mean is compared with the detectors"
    add("--run", nargs="+", type=Path, default=[], metavar="RUN", help=run)
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder for methods.json and methods.jpg")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    began = time.perf_counter()
    export = open_data(args.data)
    parts = split(export, args.seed, args.splits)
    test = sorted(parts["test"], key=lambda photo: photo.name)
    if not any(photo.cracked for photo in test):
        raise BadInput(f"{args.splits or export.root}: no test photo has a crack; choose another --splits")
    runs = open_runs(args.run, test, choose_device(args.device))
    title = f"{export.root.name}, test, {len(test)} photos"

    chosen = choose(parts["train"])
    named = answers(chosen)
    scored = {name: [score(test, answer, name, title, seed=args.seed)] for name, answer in named.items()}
    if runs:
        scored[OURS] = [score(test, answer, name, title, seed=args.seed) for name, answer in runs]
        named[OURS] = runs[0][1]

    found = results(scored)
    about = {"title": title, "train": len(parts["train"]), "test": len(test)}
    about["seconds"] = round(time.perf_counter() - began, 1)
    write_json(args.out / "methods.json", about | {"chosen": chosen, "scores": found})
    drawn = shown(split(find_export())["test"])
    said = f"settings and networks from {export.root.name}, on drawn photos that none of them saw"
    save_figure(args.out / "methods.jpg", picture(drawn, named, chosen["Canny edges"]["settings"], said))
    print(table(found), f"written to {args.out}", sep="\n")
    return 0


if __name__ == "__main__":
    execute(main)
