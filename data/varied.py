"""Drawn photos as varied as those that people take: harder than the sample, for the weights that ship.

What differs from synthesize.py: flat roads are as common as rough ones, the contrast of cracks is spread evenly from
barely visible to black, wide cracks are filled with gravel or sand, there are networks of hairlines, cracks begin at
manholes and drains, the camera may look along the road, and what stands beside it is in the picture.
"""

import cv2
import numpy as np

from data import asphalt, cracks, surroundings
from data.asphalt import log_uniform, noise, smooth_step

BESIDE_SHARE = 0.35  # of the photos that show something beside the road
ROAD_SHARE = 0.15  # of the photos with thin shadows, letters or drops
LOW_CAMERA = 0.3  # share of the photos that look along the road
WARM = 0.25  # share of the roads in the colours of stone and concrete: beige, yellow, pink
OUT_OF_FOCUS = 0.2  # share of the photos that are blurred, all over or towards one side
BLURS = 1, 5  # pixels of a 640x480 photo: sigma of that blur
FILLED = 0.4  # share of the wide cracks that are filled with gravel or sand
WIDE = 12  # pixels of a 640x480 photo from which a crack is wide
FLATTEST, ROUGHEST = 0.2, 1.2  # times the road's texture
DISTANCES = 0.3, 3.0  # as in synthesize.py
BUILT = asphalt.BUILT | {asphalt.manhole: 2, asphalt.drain: 1, asphalt.tar_seal: 1.5}


# ------------------------------------------------------------------------------------------------------ the road
def flatten(rng, scene):
    """Scales stones and grain about their surroundings: fine roads are as common as rough ones."""
    share = log_uniform(rng, FLATTEST, ROUGHEST)
    around = cv2.blur(scene.colour, (round(20 * scene.unit) + 1,) * 2)
    scene.colour += (share - 1) * (scene.colour - around)
    np.maximum(scene.colour, 0.002, out=scene.colour)
    scene.height *= np.float32(share)


def warm(rng, scene):
    """Gives the road the colour of stone or concrete."""
    if rng.random() < WARM:
        strength = rng.uniform(0.3, 1)
        scene.colour *= np.exp(strength * rng.normal([0.3, 0.05, -0.35], 0.1)).astype(np.float32)


def view(rng, size):
    """3 x 3 homography, scene -> photo: as asphalt.camera_view, or from low down, with the far side at the top."""
    if rng.random() >= LOW_CAMERA:
        return asphalt.camera_view(rng, size)
    h, w = size
    inset = rng.uniform(0.08, 0.3) * w
    top = np.float32([[0, 0], [w, 0]])
    bottom = np.float32([[w - inset * rng.uniform(0.5, 1), h], [inset * rng.uniform(0.5, 1), h]])
    return cv2.getPerspectiveTransform(np.vstack([top, bottom]), np.float32([[0, 0], [w, 0], [w, h], [0, h]]))


# -------------------------------------------------------------------------------------------------------- cracks
def hairlines(drawing, half):
    """A net of hairlines, over all of the road or a part of it."""
    rng = drawing.rng
    cell, whole = log_uniform(rng, 15, 120) * drawing.unit, rng.random() < 0.4
    return cracks.plate_cracks(drawing, rng.uniform(0.7, 1.1), max(cell, 14), 0.45, whole)


def bundle(drawing, half):
    """Several cracks that run side by side, thinner than one alone."""
    first = cracks.line_crack(drawing, half)
    aside = drawing.rng.normal(0, 25 * drawing.unit, 2)
    return first + [(path + aside, 0.6 * width) for path, width in first]


def from_something(drawing, scene, half):
    """Cracks that begin under what hides the road, such as a manhole; none where nothing does."""
    rng = drawing.rng
    rows, columns = np.nonzero(scene.hidden > 0.5)
    found = []
    for _ in range(rng.integers(1, 4) if len(rows) else 0):
        at = rng.integers(len(rows))
        root = np.array([columns[at], rows[at]], float)
        found += cracks.branch(drawing, root, rng.uniform(0, 2 * np.pi), half, 1.5 * min(scene.shape))
    return found


def draw_cracks(rng, scene, pixel):
    """-> cracks as in cracks.py, and their typical width in pixels."""
    unit = scene.unit
    kinds = {cracks.line_crack: 0.7, bundle: 0.06, cracks.alligator: 0.1, cracks.block: 0.06, hairlines: 0.08}
    kind = rng.choice(list(kinds), p=list(kinds.values()))
    width = max(np.exp(rng.normal(1.9, 0.6)) * unit, 1.4 * pixel)
    chance = rng.random()
    if kind is hairlines or chance < 0.2:
        width = rng.uniform(1.4, 2.6) * pixel
    elif chance < 0.45:
        width = log_uniform(rng, WIDE, 50) * pixel
    gaps = rng.choice([0, rng.uniform(0.05, 0.3)], p=[0.75, 0.25])
    drawing = cracks.Drawing(rng, scene.shape, unit, gaps)
    found = kind(drawing, width / 2)
    if rng.random() < 0.25:
        found += cracks.line_crack(drawing, width / 2 * rng.uniform(0.2, 1))
    return found + from_something(drawing, scene, width / 2), width


def cut(rng, scene, distance, width):
    """Cuts the crack into the road: depth, darkness, rim, and what fills it."""
    unit, shape = scene.unit, scene.shape
    cover = smooth_step(distance / max(1.0, 0.6 * unit) + 0.5)
    rim = np.exp(-np.square(np.minimum(distance, 0) / (0.2 * width + 1.5 * unit)), dtype=np.float32)
    scene.colour *= (1 + rng.normal(0, 0.1) * rim)[..., None]
    filled = width > WIDE and rng.random() < FILLED
    brightest = 0.5 if width > WIDE and not filled else 0.9  # wide and pale without filling would be a sealed crack
    on_screen = rng.uniform(0.12, brightest)  # brightness of the crack, as a share of the road's: evenly for the eye
    faint = smooth_step((on_screen - 0.5) / 0.4)
    depth = np.minimum(np.maximum(distance, 0) + 0.7 * cover * unit, 5 * unit)
    scene.height -= depth * log_uniform(rng, 0.2, 1.2) * (1 - 0.85 * faint)
    core = smooth_step(distance / (0.3 * width)) + rng.uniform(0.1, 0.45) * noise(rng, shape, rng.uniform(2, 6) * unit)
    dark = (1 - on_screen**2.2) * cover * smooth_step(0.75 + 0.4 * core)
    if filled:
        fill(rng, scene, distance, width, cover)
        dark *= rng.uniform(0.1, 0.7)
    else:
        dirt = smooth_step(1.5 * asphalt.clouds(rng, shape, 40 * unit) + rng.uniform(-3, 0.5)) * rng.uniform(0.2, 0.7)
        dark *= 1 - dirt
    scene.darken(dark)


def fill(rng, scene, distance, width, cover):
    """Sand or gravel in a wide crack, lower than the road, its edges in the dark."""
    shape = scene.shape
    low = rng.uniform(0, 0.4) * width
    inside = cover * smooth_step((distance - low / 4) / (0.1 * width) + 0.5)
    mean = np.mean(scene.colour)
    sand = mean * rng.uniform(0.3, 1.1) * np.float32([1.12, 1, 0.85])
    grain = 1 + rng.uniform(0.1, 0.4) * noise(rng, shape, max(1.5, 2 * scene.unit))
    scene.lay(inside * rng.uniform(0.6, 1), sand * grain[..., None])
    if rng.random() < 0.6:
        size = max(2.5, width * rng.uniform(0.12, 0.45))
        stone, dome, tone = asphalt.stones(rng, shape, size, rng.uniform(0.4, 1))
        scene.lay(stone * inside, tone * np.float32(mean * rng.uniform(0.4, 1.2)))
        scene.height += inside * dome * 0.25 * size
    edge = cover * (1 - smooth_step(distance / (rng.uniform(0.08, 0.25) * width)))
    scene.darken(edge, rng.uniform(0.2, 0.9))


# ----------------------------------------------------------------------------------------------------- one photo
def built_road(rng, size, unit, share):
    """A road with what was built into it."""
    scene = asphalt.road(rng, size, unit)
    asphalt.scatter(rng, scene, BUILT, share)
    flatten(rng, scene)
    warm(rng, scene)
    return scene


def into_view(rng, scene, homography):
    """The lit road as the camera sees it, and what stands beside it -> Scene in the photo's pixels."""
    lit = cracks.seen(scene.colour * asphalt.light(rng, scene), homography)
    nothing = np.zeros(scene.shape, np.float32)
    photo = asphalt.Scene(lit, nothing.copy(), nothing.copy(), scene.unit)
    if rng.random() < ROAD_SHARE:
        asphalt.scatter(rng, photo, surroundings.ON_THE_ROAD, 1.5)
    if rng.random() < BESIDE_SHARE:
        asphalt.scatter(rng, photo, surroundings.BESIDE, 1.5)
    np.clip(photo.colour, 0.001, 12 * np.median(lit), out=photo.colour)
    return photo


def out_of_focus(rng, photo, sigma):
    """Blurs a photo (H, W, 3) all over, or the more the farther from a line across it."""
    blurred = cv2.GaussianBlur(photo, (0, 0), sigma)
    if rng.random() < 0.5:
        return blurred
    h, w = photo.shape[:2]
    across = np.linspace(-1, 1, w, dtype=np.float32) * rng.normal(0, 0.4)
    down = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    share = np.clip(1.5 * np.abs(down + across - rng.uniform(-1, 1)) - 0.3, 0, 1)[..., None]
    return photo + share * (blurred - photo)


def draw_photo(rng, size, cracked, distances=DISTANCES):
    """size (height, width) -> photo (H, W, 3) uint8 RGB, mask (H, W) uint8 of 0 and 1."""
    pixel = float(np.sqrt(size[0] * size[1] / (480 * 640)))
    while True:
        unit = pixel * log_uniform(rng, *distances)
        scene, homography = built_road(rng, size, unit, 1.1 if cracked else 1.8), view(rng, size)
        distance, width = np.full(size, -1e3, np.float32), np.inf
        if cracked:
            found, width = draw_cracks(rng, scene, pixel)
            distance = cracks.field_of(rng, found, scene, width)
            cut(rng, scene, distance, width)
        asphalt.scatter(rng, scene, asphalt.LOOSE, 0.5 if cracked else 0.9)
        photo = into_view(rng, scene, homography)
        if rng.random() < OUT_OF_FOCUS:  # but never so much that the crack could not be seen
            sigma = min(log_uniform(rng, *BLURS) * pixel, width / 6)
            photo.colour = out_of_focus(rng, photo.colour, sigma)
        distance = np.minimum(distance, cracks.under(scene))
        distance = np.minimum(cracks.seen(distance, homography), cracks.under(photo))
        mask = (distance > 0).astype(np.uint8)
        if not cracked or cracks.inner(mask).mean() >= cracks.SMALLEST_CRACK:
            return asphalt.photograph(rng, photo.colour, pixel), mask
