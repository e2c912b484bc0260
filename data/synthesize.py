"""Draws photos of asphalt, cracked and not, with exact crack masks: a COCO export as Roboflow writes it.

    python data/synthesize.py                                   # data/sample: 48 cracked photos, 12 undamaged
    python data/synthesize.py --photos 2000 --seed 1 --out data/many

Everything is drawn by random processes; no part of any photograph is used. asphalt.py draws the road and what
lies on it, light and camera; cracks.py draws the cracks; this file puts them together and writes the export.
"""

import argparse
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
import cv2
import numpy as np
from tqdm import tqdm

from command import SEED, Parser, execute, number, tally
from data import asphalt, varied
from data.asphalt import log_uniform
from data.cracks import SMALLEST_CRACK, cut, draw_cracks, field_of, inner, seen, under
from formats.annotate import export_folder, mask_to_annotations, write_annotations

EVERY = 5  # photos, of which the last is undamaged: a longer set begins with the shorter one
DISTANCES = (0.55, 1.6)  # held high above the road, or close to it: pixels of a 640x480 photo per unit of road
TRIES = 20  # on one road: a slab or a patch may hide its whole middle


def photo_size(text):
    """ "640x480" (width x height) -> (480, 640)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not all(64 <= int(side) <= 4000 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, 64 to 4000 pixels, such as 640x480")
    return int(match[2]), int(match[1])


def arguments(argv):
    parser = Parser("data/synthesize.py", description=__doc__)
    parser.add_argument("--photos", type=number(int, 1), default=60, help="how many photos (default 60)")
    parser.add_argument("--seed", type=SEED, default=0, help="same seed, same photos (default 0)")
    parser.add_argument(
        "--size",
        type=photo_size,
        default=(480, 640),
        metavar="WxH",
        help="width and height in pixels (default 640x480)",
    )
    parser.add_argument(
        "--distances",
        type=number(float, 0.1, 10),
        nargs=2,
        metavar=("FAR", "NEAR"),
        help="range of magnifications; 1 is the view of a standing person (default {} {}, with --varied {} {})".format(
            *DISTANCES, *varied.DISTANCES
        ),
    )
    parser.add_argument(
        "--varied",
        action="store_true",
        help="harder photos: faint cracks, flat roads, filled cracks, low camera, things beside the road",
    )
    parser.add_argument("--undamaged-only", action="store_true", help="no photo has a crack")
    parser.add_argument("--out", default="data/sample", help="folder to write (default data/sample)")
    parser.add_argument(
        "--workers",
        type=number(int, 1),
        default=2,
        help="photos drawn in parallel; does not change the result (default 2)",
    )
    args = parser.parse_args(argv)
    if args.distances and args.distances[0] > args.distances[1]:
        parser.error("--distances: give the smaller number first")
    return args


# -------------------------------------------------------------------------------------------------- one photo
def draw_photo(rng, size, cracked, distances=DISTANCES):
    """size (height, width) -> photo (H, W, 3) uint8 RGB, mask (H, W) uint8 of 0 and 1."""
    pixel = float(np.sqrt(size[0] * size[1] / (480 * 640)))
    unit = pixel * log_uniform(rng, *distances)
    if cracked:
        scene, view, distance = cracked_road(rng, size, unit, pixel)
    else:
        scene, view = built_road(rng, size, unit, 1.8)
        distance = np.full(size, -1e3, np.float32)
    asphalt.scatter(rng, scene, asphalt.LOOSE, 0.5 if cracked else 0.9)
    distance = np.minimum(distance, under(scene))
    photo = seen(scene.colour * asphalt.light(rng, scene), view)
    return asphalt.photograph(rng, photo, pixel), (seen(distance, view) > 0).astype(np.uint8)


def built_road(rng, size, unit, share):
    """A road with what was built into it, and the camera's view of it."""
    scene = asphalt.road(rng, size, unit)
    asphalt.scatter(rng, scene, asphalt.BUILT, share)
    return scene, asphalt.camera_view(rng, size)


def cracked_road(rng, size, unit, pixel):
    """-> road with a crack in it, view, signed distance (H, W); where no crack will show, another road."""
    while True:
        scene, view = built_road(rng, size, unit, 1.1)
        for _ in range(TRIES):
            cracks, width = draw_cracks(rng, size, unit, pixel)
            distance = field_of(rng, cracks, scene, width)
            if np.mean(inner(seen(distance, view)) > 0) >= SMALLEST_CRACK:
                cut(rng, scene, distance, width)
                return scene, view, distance


# ------------------------------------------------------------------------------------------------- the export
@dataclass(frozen=True)
class Plan:
    """What to draw: the same plan always gives the same photos."""

    photos: int = 60
    seed: int = 0
    size: tuple = (480, 640)  # height, width
    draw: Callable = draw_photo  # draw_photo or varied.draw_photo
    undamaged_only: bool = False


def save_photo(folder, plan, index):
    """Draws photo number `index` into the folder; -> (file name, height, width, annotations)."""
    rng = np.random.default_rng([plan.seed, index])  # a photo's own stream: the same in every process
    cracked = (index + 1) % EVERY > 0 and not plan.undamaged_only
    photo, mask = plan.draw(rng, plan.size, cracked)
    name = f"asphalt_{index + 1:05d}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))]
    if not cv2.imwrite(str(folder / name), photo[..., ::-1], quality):
        raise OSError(f"{folder / name}: could not be written")
    return name, *plan.size, mask_to_annotations(mask)


def draw_export(out, plan=None, workers=2):
    """Draws what the Plan says into a COCO export at `out`, `workers` photos at once; returns a row for each photo."""
    plan = plan or Plan()
    with export_folder(out) as folder, ThreadPoolExecutor(workers) as pool:
        jobs = pool.map(partial(save_photo, folder, plan), range(plan.photos))
        try:
            rows = list(tqdm(jobs, total=plan.photos, desc="drawing", unit="photo"))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for the photos not yet begun
            raise
        write_annotations(folder, rows, "data/synthesize.py", licence="drawn, no rights reserved")
    return rows


def main(argv=None):
    args = arguments(argv)
    draw = varied.draw_photo if args.varied else draw_photo
    if args.distances:
        draw = partial(draw, distances=args.distances)
    rows = draw_export(args.out, Plan(args.photos, args.seed, args.size, draw, args.undamaged_only), args.workers)
    cracked = sum(bool(annotations) for *_, annotations in rows)
    print(f"{args.out}: {tally(len(rows), cracked)}")


if __name__ == "__main__":
    execute(main)
