"""Draws photos of asphalt, cracked and not, with exact crack masks: a COCO export as Roboflow writes it.

    python data/synthesize.py                                   # data/sample: 48 cracked photos, 12 undamaged
    python data/synthesize.py --photos 2000 --seed 1 --out data/many

Everything is drawn by random processes; no part of any photograph is used. asphalt.py draws the road and what
lies on it, light and camera; this file draws the cracks, keeps their masks, and writes the export.
"""

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import Parser, execute, tally

UNDAMAGED_SHARE = 0.2
DISTANCES = (0.55, 1.6)  # held high above the road, or close to it: pixels of a 640x480 photo per unit of road


def photo_size(text):
    """ "640x480" (width x height) -> (480, 640)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not all(64 <= int(side) <= 4000 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, 64 to 4000 pixels, such as 640x480")
    return int(match[2]), int(match[1])


def arguments(argv):
    parser = Parser("data/synthesize.py", description=__doc__)
    parser.add_argument("--photos", type=int, default=60, help="how many photos (default 60)")
    parser.add_argument(
        "--undamaged",
        type=float,
        default=UNDAMAGED_SHARE,
        metavar="SHARE",
        help="share of photos without a crack, 0 to 1 (default 0.2)",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same photos (default 0)")
    parser.add_argument(
        "--size",
        type=photo_size,
        default=(480, 640),
        metavar="WxH",
        help="width and height in pixels (default 640x480)",
    )
    parser.add_argument(
        "--distances",
        type=float,
        nargs=2,
        default=DISTANCES,
        metavar=("FAR", "NEAR"),
        help="how large the road may appear, 1 as a person standing sees it (default {} {})".format(*DISTANCES),
    )
    parser.add_argument("--out", default="data/sample", help="folder to write (default data/sample)")
    parser.add_argument(
        "--workers", type=int, default=2, help="photos drawn at once; never changes a photo (default 2)"
    )
    args = parser.parse_args(argv)
    if args.photos < 1 or args.workers < 1 or args.seed < 0 or not 0 <= args.undamaged <= 1:
        parser.error("--photos and --workers are 1 or more, --seed 0 or more, --undamaged 0 to 1")
    if not 0.1 <= args.distances[0] <= args.distances[1] <= 10:
        parser.error("--distances are two numbers from 0.1 to 10, the smaller first")
    return args


import cv2
import numpy as np

from data import asphalt, convert
from data.asphalt import log_uniform, noise, smooth_step

SMALLEST_CRACK = 0.002  # of the picture's middle; with less, the cracks missed it and are drawn again
TRIES = 20  # on one road: a slab or a patch may hide its whole middle
FINE = 2  # crack strokes are drawn this much finer than the photo
LIGHT = (0.03, 0.6)  # that comes out of a crack, as a share of what its road sends back: on the screen 0.2 to 0.8
THINNEST = 3  # of these finer pixels; thinner strokes would break up in the photo's pixels


# --------------------------------------------------------- cracks: [(path (N, 2), half width (N,))] in pixels
def plates(rng, shape, cell, jitter):
    """Borders between the cells of a Voronoi diagram of jittered grid points -> [(2, 2) segment].

    Alligator and block cracking, drawn as crack patterns are in Mould (2005), "Image-guided fracture".
    """
    h, w = shape
    y, x = np.mgrid[-cell : h + 2 * cell : cell, -cell : w + 2 * cell : cell]
    seeds = np.stack([x.ravel(), y.ravel()], 1) + rng.uniform(-jitter, jitter, (x.size, 2)) * cell
    diagram = cv2.Subdiv2D((int(-4 * cell), int(-4 * cell), int(w + 9 * cell), int(h + 9 * cell)))
    diagram.insert(seeds.astype(np.float32).tolist())
    facets, _ = diagram.getVoronoiFacetList([])
    borders = {}
    for facet in facets:
        for a, b in zip(facet, np.roll(facet, -1, axis=0), strict=True):
            key = tuple(sorted([tuple(np.round(a, 1).tolist()), tuple(np.round(b, 1).tolist())]))
            borders[key] = np.array(key)  # each border is met from both sides and kept once
    return list(borders.values())


def with_width(rng, path, half, taper, gaps):
    """Gives a path a width that swells and shrinks, comes to a point at the ends, fails in places (gaps)."""
    t = np.linspace(0, 1, len(path))
    knots = np.linspace(0, 1, max(4, len(path) // 10))
    swell = np.exp(0.28 * np.interp(t, knots, rng.standard_normal(len(knots))))
    point = np.clip(np.minimum(t * taper[0], (1 - t) * taper[1]), 0, 1) ** 0.5
    broken = np.interp(t, knots, rng.random(len(knots))) < gaps
    return path, np.where(broken, 0, half * swell * point)


def line_crack(rng, shape, unit, half, gaps):
    """Longitudinal, transverse or diagonal: one crack through the picture or ending in it, with branches."""
    h, w = shape
    heading = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.2)
    length = np.hypot(h, w) * rng.choice([1.3, 0.75, 0.5], p=[0.7, 0.2, 0.1])
    middle = asphalt.random_point(rng, shape, margin=-0.15 * min(shape))
    start = middle - length / 2 * asphalt.directions(heading)
    pace, bend = log_uniform(rng, 25, 70) * unit, rng.uniform(0.2, 0.9)
    trunk = asphalt.wander(rng, start, heading, length, pace, bend)
    trunk = asphalt.jagged(rng, trunk, rng.uniform(0.06, 0.2), 4 * unit)
    cracks = [with_width(rng, trunk, half, (8, 8), gaps)]
    for _ in range(rng.poisson(1.2)):
        root = trunk[rng.integers(len(trunk))]
        cracks += branch(rng, root, heading, half * rng.uniform(0.35, 0.8), min(shape), unit, gaps)
    return cracks


def branch(rng, root, heading, half, reach, unit, gaps):
    """A side crack, thinner than its parent and tapering to nothing; may branch once more."""
    turn = heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1.4) + rng.choice([0, np.pi])
    path = asphalt.wander(rng, root, turn, reach * rng.uniform(0.15, 0.8), 25 * unit, 0.7)
    path = asphalt.jagged(rng, path, rng.uniform(0.08, 0.2), 4 * unit)
    twigs = [with_width(rng, path, half, (1e3, 2.5), gaps)]
    if rng.random() < 0.25:
        twigs += branch(rng, path[len(path) // 2], turn, half * 0.7, reach / 2, unit, gaps)
    return twigs


def plate_cracks(rng, shape, unit, half, gaps, cell, jitter, whole):
    """Cracks along plate borders, inside one rounded area unless they cover the whole scene."""
    centre, spread = asphalt.random_point(rng, shape), rng.uniform(0.25, 0.6) * np.array(shape[::-1])
    cracks = []
    for border in plates(rng, shape, cell, jitter):
        distance = np.hypot(*((border.mean(axis=0) - centre) / spread))
        if whole or distance + rng.normal(0, 0.15) < 1:
            path = asphalt.jagged(rng, border, rng.uniform(0.05, 0.14), 4 * unit)
            cracks.append(with_width(rng, path, half * np.exp(rng.normal(0, 0.35)), (1e3, 1e3), gaps))
    return cracks


def alligator(rng, shape, unit, half, gaps):
    """A net of small plates in a patch of the road, finer than a line crack."""
    cell = log_uniform(rng, 30, 90) * unit
    return plate_cracks(rng, shape, unit, min(0.6 * half, cell / 30), gaps, cell, 0.45, False)


def block(rng, shape, unit, half, gaps):
    """Large, nearly rectangular plates over the whole scene."""
    return plate_cracks(rng, shape, unit, 0.7 * half, gaps, log_uniform(rng, 180, 420) * unit, 0.22, True)


def draw_cracks(rng, shape, unit, pixel):
    """-> cracks, and their typical width in pixels. One photo in eight has hairlines only."""
    width = max(np.exp(rng.normal(1.9, 0.6)) * unit, 1.4 * pixel)
    if rng.random() < 0.125:
        width = rng.uniform(1.4, 2.2) * pixel
    kind = rng.choice([line_crack, alligator, block], p=[0.78, 0.13, 0.09])
    gaps = rng.choice([0, rng.uniform(0.05, 0.25)], p=[0.8, 0.2])
    cracks = kind(rng, shape, unit, width / 2, gaps)
    if kind is line_crack and rng.random() < 0.25:
        cracks += line_crack(rng, shape, unit, width / 2 * rng.uniform(0.4, 1), gaps)
    return cracks, width


# ----------------------------------------------------------------------------- from paths to pixels and depth
def signed_distance(cracks, shape):
    """(H, W) float32: pixels to the nearest crack edge, > 0 inside a crack; from strokes on a finer grid."""
    h, w = shape
    ink = np.zeros((FINE * h, FINE * w), np.uint8)
    for path, half in cracks:
        ends = np.round(path * FINE * 16).astype(int).tolist()  # cv2.line wants 1/16 pixels (shift 4)
        widths = np.where(half > 0.15, np.maximum(2 * FINE * half, THINNEST), 0)
        widths = np.round(widths).astype(int).tolist()
        for a, b, thickness in zip(ends[:-1], ends[1:], widths[1:], strict=True):
            if thickness > 0:
                cv2.line(ink, a, b, 1, thickness, cv2.LINE_8, 4)
    inside = cv2.distanceTransform(ink, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - ink, cv2.DIST_L2, 5)
    distance = np.where(ink > 0, inside - 0.5, 0.5 - outside) / FINE
    return cv2.resize(distance, (w, h), interpolation=cv2.INTER_AREA)


def crumble(rng, distance, width, unit):
    """Moves the edges to and fro: a warp by noise as coarse as the stones, which tears no crack apart."""
    h, w = distance.shape
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    for cell in (3 * unit, 7 * unit):
        strength = min(0.3 * cell, 0.35 * width) * rng.uniform(0.4, 1)
        x += strength * noise(rng, distance.shape, cell)
        y += strength * noise(rng, distance.shape, cell)
    return cv2.remap(distance, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def without_crumbs(distance, smallest):
    """Sets specks of crack of fewer than `smallest` pixels to just outside: nobody would draw round them."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((distance > 0).astype(np.uint8), connectivity=8)
    speck = stats[:, cv2.CC_STAT_AREA] < smallest
    return np.where(speck[labels], np.float32(-0.5), distance)


def field_of(rng, cracks, scene, width):
    """Cracks -> signed distance (H, W) with crumbling edges, none where something hides the road."""
    distance = crumble(rng, signed_distance(cracks, scene.shape), width, scene.unit)
    return without_crumbs(np.minimum(distance, under(scene)), 25 * scene.unit)


def under(scene):
    """(H, W) float32: a signed distance that is far outside every crack where the road is hidden."""
    return np.float32(1e3) * (0.5 - scene.hidden)


def cut(rng, scene, distance, width):
    """Cuts the crack into the road: depth, darkness, broken edges, dirt or sand that fills it in places."""
    unit, shape = scene.unit, scene.shape
    cover = smooth_step(distance / unit + 0.5)
    fill = smooth_step(1.5 * asphalt.clouds(rng, shape, 40 * unit) + rng.uniform(-2.5, 0.9))
    fill *= rng.uniform(0.4, 0.8)
    edge = np.exp(-np.square(np.minimum(distance, 0) / (0.25 * width + 1.5 * unit)), dtype=np.float32)
    scene.colour *= (1 + rng.normal(0, 0.13) * edge)[..., None]
    depth = np.minimum(np.maximum(distance, 0) + 0.7 * cover * unit, 5 * unit)
    scene.height -= depth * log_uniform(rng, 0.2, 1.2) * (1 - 0.75 * fill)
    core = smooth_step(distance / (0.3 * width)) + 0.25 * noise(rng, shape, 3 * unit)
    darkness = (1 - log_uniform(rng, *LIGHT)) * cover * smooth_step(0.65 + 0.4 * core) * (1 - fill)
    scene.colour *= (1 - darkness)[..., None]
    sand = np.mean(scene.colour) * rng.uniform(0.35, 0.95) * np.float32([1.15, 1, 0.82])
    scene.lay(cover * fill, sand * (1 + 0.35 * noise(rng, shape, 2 * unit))[..., None])


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


def inner(image):
    """The picture without its outer tenths: nobody frames a photo so that the crack runs along its edge."""
    h, w = image.shape
    return image[h // 10 : h - h // 10, w // 10 : w - w // 10]


def seen(image, view):
    """The scene as the camera sees it."""
    h, w = image.shape[:2]
    return cv2.warpPerspective(image, view, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


# ------------------------------------------------------------------------------------------------- the export
def is_cracked(index, undamaged):
    """Spreads the undamaged photos evenly, at 0.2 every fifth: a longer set begins with the shorter one."""
    return int((index + 1) * undamaged + 1e-9) == int(index * undamaged + 1e-9)


def save_photo(folder, index, seed, size, undamaged, distances):
    """Draws photo number `index` into the folder; -> (file name, height, width, annotations)."""
    rng = np.random.default_rng([seed, index])  # a photo's own stream: the same whoever draws it
    photo, mask = draw_photo(rng, size, is_cracked(index, undamaged), distances)
    name = f"asphalt_{index + 1:05d}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))]
    if not cv2.imwrite(str(folder / name), photo[..., ::-1], quality):
        raise OSError(f"{folder / name}: could not be written")
    return name, *size, convert.mask_to_annotations(mask)


def draw_export(out, photos=60, seed=0, size=(480, 640), undamaged=UNDAMAGED_SHARE, workers=2, distances=DISTANCES):
    """Draws `photos` photos of `size` (height, width) into a COCO export at `out`; returns a row for each."""
    from tqdm import tqdm

    with convert.export_folder(out) as folder, ThreadPoolExecutor(workers) as pool:
        jobs = pool.map(lambda index: save_photo(folder, index, seed, size, undamaged, distances), range(photos))
        try:
            rows = list(tqdm(jobs, total=photos, desc="drawing", unit="photo"))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for the photos not yet begun
            raise
        convert.write_annotations(folder, rows, "data/synthesize.py", licence="drawn, no rights reserved")
    return rows


def main(argv=None):
    args = arguments(argv)
    rows = draw_export(args.out, args.photos, args.seed, args.size, args.undamaged, args.workers, args.distances)
    cracked = sum(bool(annotations) for *_, annotations in rows)
    print(f"{args.out}: {tally(len(rows), cracked)}")


if __name__ == "__main__":
    execute(main)
