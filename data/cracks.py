"""Drawn cracks: their paths, their outline on the road, and how they are cut into it. The road is in asphalt.py.

A crack is a path (N, 2) float64 of x, y in pixels and half its width (N,) at each point. Widths and lengths of the
drawing are in `unit`s as in asphalt.py; `pixel` is that of a 640x480 photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data import asphalt
from data.asphalt import log_uniform, noise, smooth_step

FINE = 2  # crack strokes are drawn this much finer than the photo
THINNEST = 3  # of these finer pixels; thinner strokes would break up in the photo's pixels
SMALLEST_CRACK = 0.002  # of the picture's middle; with less, the cracks missed it and are drawn again
LIGHT = (0.03, 0.6)  # from a crack, as a share of the light from its road: 0.2 to 0.8 times its grey values


# ----------------------------------------------------------------------------------------------------- paths
@dataclass(frozen=True)
class Drawing:
    """What all cracks of a picture share."""

    rng: np.random.Generator
    shape: tuple  # height, width
    unit: float
    gaps: float  # share of a crack along which it is too thin to be seen


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


def line_crack(drawing, half):
    """Longitudinal, transverse or diagonal: one crack through the picture or ending in it, with branches."""
    rng, unit, shortest = drawing.rng, drawing.unit, min(drawing.shape)
    heading = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.2)
    length = np.hypot(*drawing.shape) * rng.choice([1.3, 0.75, 0.5], p=[0.7, 0.2, 0.1])
    middle = asphalt.random_point(rng, drawing.shape, margin=-0.15 * shortest)
    start = middle - length / 2 * asphalt.directions(heading)
    pace, bend = log_uniform(rng, 25, 70) * unit, rng.uniform(0.2, 0.9)
    trunk = asphalt.wander(rng, start, heading, length, pace, bend)
    trunk = asphalt.jagged(rng, trunk, rng.uniform(0.06, 0.2), 4 * unit)
    cracks = [with_width(rng, trunk, half, (8, 8), drawing.gaps)]
    for _ in range(rng.poisson(1.2)):
        root = trunk[rng.integers(len(trunk))]
        cracks += branch(drawing, root, heading, half * rng.uniform(0.35, 0.8), shortest)
    return cracks


def branch(drawing, root, heading, half, reach):
    """A side crack, thinner than its parent and tapering to nothing; may branch once more."""
    rng, unit = drawing.rng, drawing.unit
    turn = heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1.4) + rng.choice([0, np.pi])
    path = asphalt.wander(rng, root, turn, reach * rng.uniform(0.15, 0.8), 25 * unit, 0.7)
    path = asphalt.jagged(rng, path, rng.uniform(0.08, 0.2), 4 * unit)
    twigs = [with_width(rng, path, half, (1e3, 2.5), drawing.gaps)]
    if rng.random() < 0.25:
        twigs += branch(drawing, path[len(path) // 2], turn, half * 0.7, reach / 2)
    return twigs


def plate_cracks(drawing, half, cell, jitter, whole):
    """Cracks along plate borders, inside one rounded area unless they cover the `whole` scene."""
    rng, shape = drawing.rng, drawing.shape
    centre, spread = asphalt.random_point(rng, shape), rng.uniform(0.25, 0.6) * np.array(shape[::-1])
    cracks = []
    for border in plates(rng, shape, cell, jitter):
        distance = np.hypot(*((border.mean(axis=0) - centre) / spread))
        if whole or distance + rng.normal(0, 0.15) < 1:
            path = asphalt.jagged(rng, border, rng.uniform(0.05, 0.14), 4 * drawing.unit)
            cracks.append(with_width(rng, path, half * np.exp(rng.normal(0, 0.35)), (1e3, 1e3), drawing.gaps))
    return cracks


def alligator(drawing, half):
    """A net of small plates in a patch of the road, finer than a line crack."""
    cell = log_uniform(drawing.rng, 30, 90) * drawing.unit
    return plate_cracks(drawing, min(0.6 * half, cell / 30), cell, jitter=0.45, whole=False)


def block(drawing, half):
    """Large, nearly rectangular plates over the whole scene."""
    cell = log_uniform(drawing.rng, 180, 420) * drawing.unit
    return plate_cracks(drawing, 0.7 * half, cell, jitter=0.22, whole=True)


def draw_cracks(rng, shape, unit, pixel):
    """-> cracks, and their typical width in pixels. One photo in eight has hairlines only."""
    width = max(np.exp(rng.normal(1.9, 0.6)) * unit, 1.4 * pixel)
    if rng.random() < 0.125:
        width = rng.uniform(1.4, 2.2) * pixel
    kind = rng.choice([line_crack, alligator, block], p=[0.78, 0.13, 0.09])
    gaps = rng.choice([0, rng.uniform(0.05, 0.25)], p=[0.8, 0.2])
    drawing = Drawing(rng, shape, unit, gaps)
    cracks = kind(drawing, width / 2)
    if kind is line_crack and rng.random() < 0.25:
        cracks += line_crack(drawing, width / 2 * rng.uniform(0.4, 1))
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
    """Sets specks of crack of fewer than `smallest` pixels to just outside: a labeller would not outline them."""
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
    scene.darken(darkness)
    sand = np.mean(scene.colour) * rng.uniform(0.35, 0.95) * np.float32([1.15, 1, 0.82])
    scene.lay(cover * fill, sand * (1 + 0.35 * noise(rng, shape, 2 * unit))[..., None])


# --------------------------------------------------------------------------------------------- in the picture
def inner(image):
    """The picture without its outer tenths: nobody frames a photo so that the crack runs along its edge."""
    h, w = image.shape
    return image[h // 10 : h - h // 10, w // 10 : w - w // 10]


def seen(image, view):
    """The scene as the camera sees it."""
    h, w = image.shape[:2]
    return cv2.warpPerspective(image, view, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
