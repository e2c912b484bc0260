"""Drawn asphalt: aggregate in binder, what lies on a road, light and camera; the cracks are in cracks.py.

Until `photograph`, colour is linear RGB reflectance (H, W, 3) float32 and height is (H, W) float32 in pixels.
Lengths are in `unit`s, about a pixel of a 640 x 480 photo: a larger photo shows the same road, finer.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# tints of grey, sandy, blueish, rusty and greenish rock, and how common each is
ROCKS = np.float32([[1, 1, 1], [1.08, 1, 0.9], [0.9, 0.98, 1.08], [1.18, 0.98, 0.82], [0.96, 1.02, 0.97]])
ROCK_SHARES = [0.5, 0.15, 0.2, 0.07, 0.08]
MASTIC_SHARE = 0.25  # of roads that are mastic asphalt, slurry or concrete
SUBPIXEL_BITS = 4


@dataclass
class Scene:
    """A piece of road seen from above, and how much of each pixel lies hidden under something (0..1)."""

    colour: np.ndarray
    height: np.ndarray
    hidden: np.ndarray
    unit: float

    @property
    def shape(self):
        """(height, width) of the scene."""
        return self.height.shape

    def lay(self, cover, colour, lift=0.0):
        """Blends a colour in where cover (H, W) is 1, and raises the surface by lift.

        colour: (3,), (H, W, 3), or one number for a grey.
        """
        self.colour += cover[..., None] * (np.float32(colour) - self.colour)
        self.height += cover * np.float32(lift)

    def cover(self, area, colour, lift=0.0):
        """The same, and marks the area as hidden: no crack shows there."""
        self.lay(area, colour, lift)
        self.hidden = np.maximum(self.hidden, area)

    def darken(self, shade, share=1.0):
        """Takes away a share of the light where shade (H, W) is 1."""
        self.colour *= (1 - share * shade)[..., None]


# -------------------------------------------------------------------------------------------- random building
def log_uniform(rng, low, high):
    """Random number from low to high, evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def noise(rng, shape, cell):
    """(H, W) float32, mean 0, deviation about 0.8, smooth over `cell` pixels: a small grid, enlarged."""
    h, w = shape
    across, down = (cell, cell) if np.isscalar(cell) else cell
    grid = rng.standard_normal((max(2, round(h / down)), max(2, round(w / across))), dtype=np.float32)
    return cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)


def clouds(rng, shape, cell, octaves=3):
    """(H, W) float32: octaves of noise, each half as wide and half as strong (fractional Brownian motion)."""
    return sum(noise(rng, shape, max(cell / 2**k, 1.5)) / 2**k for k in range(octaves))


def random_point(rng, shape, margin=0.0):
    """(2,) float64 x, y inside the scene, or up to margin outside it."""
    h, w = shape
    return rng.uniform([-margin, -margin], [w + margin, h + margin])


def polygon(shape, *outlines):
    """One or more (N, 2) outlines -> (H, W) float32 cover 0..1 of their union, anti-aliased."""
    cover = np.zeros(shape, np.uint8)
    for outline in outlines:
        corners = np.round(outline * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(cover, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return cover.astype(np.float32) / 255


def stroke(shape, points, width):
    """(N, 2) path and its width in pixels -> (H, W) float32 cover 0..1, anti-aliased."""
    cover = np.zeros(shape, np.uint8)
    path = np.round(np.asarray(points) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.polylines(cover, [path], False, 255, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)
    return cover.astype(np.float32) / 255


def directions(angle):
    """(N,) angles -> (N, 2) unit vectors."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def bar(start, angle, length, width):
    """(4, 2) corners of a straight bar."""
    along = directions(angle)
    side = width / 2 * np.array([-along[1], along[0]])
    end = start + length * along
    return np.array([start - side, end - side, end + side, start + side])


def ribbon(path, half):
    """(N, 2) path and half its width at each point -> (2N, 2) outline."""
    along = np.gradient(path, axis=0)
    side = half[:, None] * np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(*along.T)[:, None]
    return np.vstack([path + side, (path - side)[::-1]])


def blob(rng, centre, radius, wobble=0.25, corners=32):
    """(N, 2) outline of a rounded irregular spot: a circle whose radius has four random harmonics."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    waves = sum(rng.normal(0, wobble / k) * np.cos(k * angle + rng.uniform(0, 7)) for k in range(1, 5))
    return centre + (radius * np.clip(1 + waves, 0.2, 3))[:, None] * directions(angle)


def blobs(rng, shape, radii, wobble=0.25):
    """(H, W) float32 cover of one blob for each radius, anywhere."""
    return polygon(shape, *[blob(rng, random_point(rng, shape), radius, wobble) for radius in radii])


def across(rng, shape):
    """A line right across the scene -> start (2,), angle, length."""
    h, w = shape
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.25)
    reach = float(np.hypot(h, w)) * 1.2
    middle = random_point(rng, shape, margin=-0.1 * min(shape))
    return middle - reach / 2 * directions(angle), angle, reach


def smooth_step(x):
    """0 below 0, 1 above 1, x in between."""
    return np.clip(x, 0, 1, dtype=np.float32)


# ----------------------------------------------------------------------- paths: (N, 2) float64 x, y in pixels
def jagged(rng, path, roughness, step):
    """Splits each piece in two and moves the middle sideways, until pieces are `step` long.

    Fractal midpoint displacement (Fournier, Fussell and Carpenter, 1982).
    """
    while np.max(np.hypot(*np.diff(path, axis=0).T), initial=0) > step:
        along = np.diff(path, axis=0)
        sideways = np.stack([-along[:, 1], along[:, 0]], 1) * rng.normal(0, roughness, (len(along), 1))
        finer = np.empty((2 * len(path) - 1, 2))
        finer[::2], finer[1::2] = path, path[:-1] + along / 2 + sideways
        path = finer
    return path


def wander(rng, start, heading, length, step, bend):
    """A walk that keeps its heading for a while: correlated random walk (Kareiva and Shigesada, 1983)."""
    count = max(2, int(length / step))
    turns = np.convolve(rng.normal(0, bend, count + 4), np.ones(5) / 5, "valid")
    headings = heading + turns - turns[0]
    return start + np.vstack([[0, 0], np.cumsum(step * directions(headings), axis=0)])


# --------------------------------------------------------------------------------------------------- the road
def stones(rng, shape, size, share):
    """Crushed stones of about `size` pixels -> cover (H, W), dome (H, W) both 0..1, tone (H, W, 3) about 1.

    Each pixel belongs to its nearest seed (a Voronoi cell), in which the stone is a turned octagon: packed
    stones get the straight edges of crushed rock, lonely ones stay round.
    """
    h, w = shape
    count = max(4, int(1.3 * h * w / size**2))
    seeds = np.stack([rng.integers(0, w, count), rng.integers(0, h, count)], 1)
    free = np.ones(shape, np.uint8)
    free[seeds[:, 1], seeds[:, 0]] = 0
    _, label = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    seed_of = np.zeros((label.max() + 1, 2), np.float32)
    seed_of[label[seeds[:, 1], seeds[:, 0]]] = seeds
    kinds = len(seed_of)
    radius = size / 2 * np.exp(rng.normal(0.1, 0.3, kinds))
    radius[rng.random(kinds) >= share] = 0  # no stone there
    turn, aspect = rng.uniform(0, np.pi, kinds), np.exp(rng.uniform(0, 0.6, kinds))
    per_stone = np.stack([*seed_of.T, np.cos(turn), np.sin(turn), aspect, 1 / np.maximum(radius, 0.01)], 1)
    x0, y0, cos, sin, stretch, inverse = cv2.split(np.take(per_stone.astype(np.float32), label, axis=0))
    dx, dy = np.arange(w, dtype=np.float32) - x0, np.arange(h, dtype=np.float32)[:, None] - y0
    u, v = np.abs(cos * dx + sin * dy), np.abs(cos * dy - sin * dx) * stretch
    edge = np.maximum(np.maximum(u, v), 0.72 * (u + v)) * inverse
    edge += 0.12 * noise(rng, shape, max(size / 4, 1.5))
    cover = smooth_step((1 - edge) * size / 2.5 + 0.5)
    rock = ROCKS[rng.choice(len(ROCKS), kinds, p=ROCK_SHARES)]
    tone = rock * np.exp(rng.normal(0, 0.42, kinds))[:, None]
    return cover, cover * smooth_step(1.3 - edge), np.take(tone.astype(np.float32), label, axis=0)


def road(rng, shape, unit):
    """Bare asphalt -> Scene. Fresh: binder hides the stones, relief shows them. Worn: flat, bare. Mastic: fine, pale
    and tinted, with hardly a stone in sight."""
    size, wear, relief = log_uniform(rng, 3, 10) * unit, rng.beta(1.2, 1.2), rng.uniform(0.15, 1.0)
    binder = log_uniform(rng, 0.06, 0.4) * (1 + rng.normal(0, 0.025, 3))
    contrast, coarse = rng.uniform(0.06, 0.26), 1
    if rng.random() < MASTIC_SHARE:
        wear, relief, contrast, coarse = 0.3 * wear, 0.5 * relief, 0.4 * contrast, 0.15
        binder = log_uniform(rng, 0.12, 0.5) * np.exp(rng.normal(0, 0.1, 3))
    bare = smooth_step(wear + 0.15 * clouds(rng, shape, 160 * unit))
    grain = noise(rng, shape, max(1.2, 1.1 * unit)) + noise(rng, shape, 2.5 * unit)
    colour = (1 + contrast * grain)[..., None] * binder.astype(np.float32)
    scene = Scene(colour, 0.22 * relief * unit * grain, np.zeros(shape, np.float32), unit)
    bright = rng.uniform(0.8, 2.4)
    for stone_size, share in ((max(0.5 * size, 2.2), rng.uniform(0.2, 0.9)), (size, rng.uniform(0.05, 0.7))):
        cover, dome, tone = stones(rng, shape, stone_size, coarse * share)
        scene.lay(cover * (0.15 + 0.85 * bare), tone * np.float32(bright * binder))
        scene.height += relief * (0.2 * stone_size) * dome * (1.2 - bare)
    weather(rng, scene, relief)
    return scene


def weather(rng, scene, relief):
    """Dirt in clouds, streaks along the wheels' way, dust that fills what lies low, pits of lost stones."""
    unit, shape = scene.unit, scene.shape
    dirt = 1 + rng.uniform(0.02, 0.10) * clouds(rng, shape, 120 * unit, 4)
    dirt += max(0, rng.uniform(-0.06, 0.04)) * noise(rng, shape, rng.permutation([14, 400]) * unit)
    scene.colour *= np.maximum(dirt, 0.4)[..., None]
    low = cv2.blur(scene.height, (round(9 * unit),) * 2) - scene.height
    dust = 0.8 * low / (relief * unit) + 0.6 * clouds(rng, shape, 90 * unit) - rng.uniform(-0.1, 1.2)
    scene.lay(smooth_step(dust) * rng.uniform(0, 0.6), np.mean(scene.colour) * np.float32([1.25, 1.12, 0.95]))
    count = rng.poisson(log_uniform(rng, 3, 80))
    pits = blobs(rng, shape, [log_uniform(rng, 1.2, 6) * unit for _ in range(count)], 0.4)
    scene.lay(pits * rng.uniform(0.4, 0.9), 0.4 * np.mean(scene.colour), -1.5 * unit)


# ---------------------------------------------------------- built or spilt on the road, older than the cracks
def paint_line(rng, scene):
    """White or yellow marking, fresh to nearly worn away: the paint goes first where stones stand out."""
    start, angle, length = across(rng, scene.shape)
    stripe = polygon(scene.shape, bar(start, angle, length, rng.uniform(25, 120) * scene.unit))
    worn = clouds(rng, scene.shape, 16 * scene.unit, 4) + scene.height / scene.unit
    cover = stripe * smooth_step(0.5 + rng.uniform(0.5, 2) * (rng.uniform(-0.6, 1.8) - worn))
    white = rng.uniform(0.45, 0.75) * np.float32([1, 0.98, 0.94] if rng.random() < 0.75 else [1, 0.72, 0.18])
    scene.lay(cover * 0.95, white, 0.3 * scene.unit)


def tar_seal(rng, scene):
    """A crack that was sealed: a smooth, dark, shiny band that wanders; not a crack any more."""
    start, angle, length = across(rng, scene.shape)
    path = jagged(rng, wander(rng, start, angle, length, 60 * scene.unit, 0.5), 0.08, 12 * scene.unit)
    width = log_uniform(rng, 8, 30) * scene.unit
    band = cv2.GaussianBlur(stroke(scene.shape, path, width), (0, 0), width / 4)
    ragged = 0.5 + 0.25 * clouds(rng, scene.shape, 0.8 * width, 4)
    band = smooth_step((band - ragged) * width / 2) * smooth_step(1.3 + 0.5 * clouds(rng, scene.shape, width))
    scene.height += 0.8 * band * (cv2.blur(scene.height, (9, 9)) - scene.height)
    scene.lay(0.95 * band, np.mean(scene.colour) * rng.uniform(0.15, 0.6), 0.8 * scene.unit)


def patch(rng, scene):
    """A repair with straight edges: other asphalt, and a dark or a raised seam around it."""
    start, angle, length = across(rng, scene.shape)
    corners = bar(start, angle, length * rng.choice([0.5, 1.0]), rng.uniform(120, 420) * scene.unit)
    area = polygon(scene.shape, corners)
    scene.colour *= (1 + area * (rng.uniform(0.45, 1.5) - 1))[..., None]
    scene.height += area * rng.uniform(-0.6, 1.0) * scene.height
    seam = stroke(scene.shape, np.vstack([corners, corners[:1]]), log_uniform(rng, 1.5, 9) * scene.unit)
    seam *= smooth_step(0.7 + clouds(rng, scene.shape, 25 * scene.unit))
    scene.lay(seam * rng.uniform(0.2, 0.9), rng.uniform(0.02, 0.12), -0.4 * scene.unit)


def joint(rng, scene):
    """An expansion or construction joint: a dead straight groove of even width, sometimes filled."""
    start, angle, length = across(rng, scene.shape)
    width = log_uniform(rng, 2, 12) * scene.unit
    groove = polygon(scene.shape, bar(start, angle, length, width))
    groove *= smooth_step(1 + 0.4 * clouds(rng, scene.shape, 30 * scene.unit, 4))
    scene.lay(groove * rng.uniform(0.5, 0.95), rng.uniform(0.01, 0.1), -width / 2)


def manhole(rng, scene):
    """A cast-iron cover with its rim and a pattern of studs; hides the road below."""
    centre = random_point(rng, scene.shape)
    radius = min(rng.uniform(90, 220) * scene.unit, 0.35 * min(scene.shape))  # some road stays in sight
    rim = polygon(scene.shape, blob(rng, centre, radius * 1.1, 0))
    lid = polygon(scene.shape, blob(rng, centre, radius, 0))
    gap = lid - polygon(scene.shape, blob(rng, centre, radius * 0.97, 0))
    h, w = scene.shape
    pitch = rng.uniform(9, 20) * scene.unit
    x, y = np.arange(w, dtype=np.float32) - centre[0], np.arange(h, dtype=np.float32)[:, None] - centre[1]
    studs = smooth_step(4 * np.sin((x + y) / pitch * 2) * np.sin((x - y) / pitch * 2))
    scene.height -= rim * scene.height
    scene.cover(rim, rng.uniform(0.08, 0.25) * np.float32([1, 0.97, 0.93]))
    scene.lay(lid, rng.uniform(0.05, 0.16) * np.float32([1.08, 1, 0.92]))
    scene.colour *= 1 + 0.12 * clouds(rng, scene.shape, 20 * scene.unit)[..., None] * lid[..., None]
    scene.height += lid * studs * 1.5 * scene.unit - gap * 5 * scene.unit
    scene.lay(gap * 0.8, [0.01, 0.01, 0.01])


def drain(rng, scene):
    """A gully grate: parallel dark slots in an iron frame; hides the road below."""
    start, angle = random_point(rng, scene.shape), rng.uniform(0, np.pi)
    length = min(rng.uniform(150, 260) * scene.unit, 0.5 * min(scene.shape))
    width = length * rng.uniform(0.5, 0.9)
    frame = polygon(scene.shape, bar(start, angle, length, width))
    scene.height -= frame * scene.height
    scene.cover(frame, rng.uniform(0.07, 0.2) * np.float32([1.05, 1, 0.95]))
    along = directions(angle)
    slots = sum(
        polygon(scene.shape, bar(start + share * length * along, angle, 0.055 * length, 0.8 * width))
        for share in np.arange(0.06, 0.9, 0.115)
    )
    scene.lay(slots, [0.008, 0.008, 0.008], -4 * scene.unit)


def oil(rng, scene):
    """Dark drips and puddles of oil with soft, mottled edges: one large or many small."""
    count, smallest, largest = rng.choice([[1, 25, 110], [14, 3, 16]])
    count = rng.integers(1, count + 1)
    radii = [log_uniform(rng, smallest, largest) * scene.unit for _ in range(count)]
    spots = blobs(rng, scene.shape, radii, 0.4)
    soft = cv2.GaussianBlur(spots, (0, 0), max(radii) * rng.uniform(0.08, 0.3))
    soft *= smooth_step(0.75 + 0.4 * clouds(rng, scene.shape, 14 * scene.unit))
    scene.darken(soft, rng.uniform(0.25, 0.7))


def drips(rng, scene):
    """Tar or oil that dripped from something on wheels: dark blots in a row, some smeared along it, a few beside it."""
    start, angle, length = across(rng, scene.shape)
    unit, way = scene.unit, directions(angle)
    count = min(120, int(length / (log_uniform(rng, 7, 30) * unit)))
    astray = rng.standard_normal(count) * np.where(rng.random(count) < 0.12, 8, 1) * log_uniform(rng, 0.7, 4) * unit
    centres = start + rng.uniform(0, length, count)[:, None] * way + astray[:, None] * directions(angle + np.pi / 2)
    radii = np.exp(rng.normal(np.log(log_uniform(rng, 2, 6)), 0.45, count)) * unit
    blots = [blob(rng, centre, radius, 0.35, 16) for centre, radius in zip(centres, radii, strict=True)]
    for centre, radius in zip(centres, radii, strict=True):
        if rng.random() < 0.15:
            tail = np.linspace(centre, centre + rng.uniform(3, 15) * radius * way, 6)
            blots.append(ribbon(tail, np.linspace(0.8, 0.1, 6) * radius))
    cover = cv2.GaussianBlur(polygon(scene.shape, *blots), (0, 0), log_uniform(rng, 0.3, 1) * unit)
    cover *= smooth_step(0.9 + 0.35 * clouds(rng, scene.shape, 5 * unit))
    scene.lay(cover * rng.uniform(0.55, 0.95), np.mean(scene.colour) * rng.uniform(0.05, 0.4), 0.4 * unit)


def kerb(rng, scene):
    """Kerb stones along one side: paler and smoother than the road, a dark gutter line before them, joints between."""
    start, angle, length = across(rng, scene.shape)
    start, length = start - length / 2 * directions(angle), 2 * length  # its ends are never in sight
    width, unit, side = rng.uniform(90, 260) * scene.unit, scene.unit, rng.choice([-1, 1])
    away = side * directions(angle + np.pi / 2)
    stones = polygon(scene.shape, bar(start + width / 2 * away, angle, length, width))
    scene.height -= 0.7 * stones * scene.height
    tint = np.mean(scene.colour) * rng.uniform(0.9, 2.2) * np.float32([1.03, 1, 0.95])
    scene.cover(stones, tint * (1 + 0.08 * clouds(rng, scene.shape, 3 * unit))[..., None])
    lines = [bar(start, angle, length, log_uniform(rng, 1.5, 9) * unit)]
    for place in np.arange(rng.uniform(0, 300) * unit, length, 300 * unit):
        lines.append(bar(start + place * directions(angle), angle + side * np.pi / 2, width, rng.uniform(1, 4) * unit))
    gaps = polygon(scene.shape, *lines) * smooth_step(0.8 + 0.4 * clouds(rng, scene.shape, 20 * unit))
    scene.lay(gaps * rng.uniform(0.3, 0.9), rng.uniform(0.02, 0.12), -1.5 * unit)
    scene.hidden = np.maximum(scene.hidden, gaps)


def wet(rng, scene):
    """A wet patch or a run of water: darker, and flat where water stands in the hollows."""
    area = clouds(rng, scene.shape, rng.uniform(120, 400) * scene.unit, 4) + rng.uniform(-0.9, 0.2)
    area = smooth_step(area * log_uniform(rng, 0.6, 3) - scene.height / (2 * scene.unit))
    scene.darken(area, rng.uniform(0.15, 0.5))
    scene.height *= 1 - 0.5 * area


def tyre_marks(rng, scene):
    """One or two faint dark bands of rubber, striped along the way."""
    start, angle, length = across(rng, scene.shape)
    width = rng.uniform(40, 110) * scene.unit
    for aside in [0, width * rng.uniform(1.5, 3)][: rng.integers(1, 3)]:
        track = bar(start + aside * directions(angle + np.pi / 2), angle, length, width)
        band = cv2.GaussianBlur(polygon(scene.shape, track), (0, 0), 4 * scene.unit)
        band *= smooth_step(0.7 + 0.4 * clouds(rng, scene.shape, 60 * scene.unit))
        scene.darken(band, rng.uniform(0.15, 0.45))


def scratches(rng, scene):
    """Scrapes and drag marks: thin, straight, pale or dark lines that no crack would follow."""
    unit, angle = scene.unit, rng.uniform(0, np.pi)
    lines = []
    for _ in range(rng.integers(1, 6)):
        start, heading = random_point(rng, scene.shape), angle + rng.normal(0, 0.1)
        lines.append(bar(start, heading, rng.uniform(40, 300) * unit, rng.uniform(1, 3) * unit))
    marks = polygon(scene.shape, *lines) * smooth_step(0.5 + noise(rng, scene.shape, 8 * unit))
    scene.colour *= (1 + marks * rng.uniform(-0.4, 0.6))[..., None]


BUILT = {
    paint_line: 2,
    tar_seal: 2,
    patch: 2,
    joint: 1.5,
    manhole: 0.4,
    drain: 0.3,
    oil: 2.5,
    drips: 2.5,
    kerb: 0.6,
    wet: 1.5,
    tyre_marks: 1.5,
    scratches: 1,
}  # and how common each is


# --------------------------------------------------------------------------- lying loose on top of the cracks
def leaves(rng, scene):
    """Fallen leaves, green to brown, with a midrib; each casts its small shadow."""
    for _ in range(rng.integers(1, 7)):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(14, 50) * scene.unit
        t = np.linspace(0, 1, 24)
        bulge = np.sin(np.pi * t**0.8) * rng.uniform(0.16, 0.4) * length * (1 + 0.12 * rng.normal(0, 1, 24))
        rib = random_point(rng, scene.shape) + t[:, None] * length * directions(angle)
        blade = polygon(scene.shape, ribbon(rib, bulge))
        colour = np.float32([[0.20, 0.13, 0.05], [0.10, 0.06, 0.03], [0.07, 0.10, 0.03], [0.30, 0.21, 0.07]])
        tint = rng.dirichlet(np.ones(4)) @ colour
        scene.cover(blade, tint, 2.5 * scene.unit)
        scene.lay(0.5 * stroke(scene.shape, rib, 1.2 * scene.unit), 1.6 * tint)


def twigs(rng, scene):
    """Twigs, stalks and blades of grass: thin and crooked like a crack, but lying on top."""
    for _ in range(rng.integers(1, 5)):
        angle, length = rng.uniform(0, 2 * np.pi), log_uniform(rng, 20, 180) * scene.unit
        path = wander(rng, random_point(rng, scene.shape), angle, length, length / 5, 0.6)
        path = jagged(rng, path, 0.05, 6 * scene.unit)
        thin = np.linspace(1, rng.uniform(0, 0.6), len(path)) * rng.uniform(0.7, 2.2) * scene.unit
        stick = polygon(scene.shape, ribbon(path, thin))
        brown, straw = np.float32([[0.16, 0.11, 0.07], [0.3, 0.25, 0.15]])
        tint = (brown if rng.random() < 0.7 else straw) * rng.uniform(0.4, 1.3)
        scene.cover(stick, tint, 2 * scene.unit)


def cigarette_ends(rng, scene):
    """A white stub with an orange filter."""
    for _ in range(rng.integers(1, 3)):
        start, angle = random_point(rng, scene.shape), rng.uniform(0, 2 * np.pi)
        length, width = rng.uniform(22, 34) * scene.unit, rng.uniform(5, 7) * scene.unit
        stub = polygon(scene.shape, bar(start, angle, length, width))
        scene.cover(stub, [0.62, 0.6, 0.56], 3 * scene.unit)
        scene.lay(polygon(scene.shape, bar(start, angle, length * 0.45, width)), [0.5, 0.28, 0.1])


def pebbles(rng, scene):
    """Loose grit, all of one kind, and spots of chewing gum."""
    count = rng.integers(3, 40)
    spots = blobs(rng, scene.shape, [log_uniform(rng, 1.5, 7) * scene.unit for _ in range(count)])
    scene.cover(spots, log_uniform(rng, 0.05, 0.5) * ROCKS[rng.integers(len(ROCKS))], 2 * scene.unit)


LOOSE = {leaves: 1.5, twigs: 1.5, cigarette_ends: 0.5, pebbles: 1.5}


def scatter(rng, scene, things, mean):
    """Draws a Poisson number of things, chosen by their weights."""
    weights = np.array(list(things.values())) / sum(things.values())
    for index in rng.choice(len(things), size=min(rng.poisson(mean), 4), p=weights):
        list(things)[index](rng, scene)


# ------------------------------------------------------------------------------------------- light and camera
def person(rng, foot, heading, length):
    """Outlines of someone's shadow, `length` pixels from foot to crown: legs, body, arms, head."""
    along, aside = directions(heading), directions(heading + np.pi / 2)
    hip, neck = foot + 0.48 * length * along, foot + 0.82 * length * along
    thick, stride = 0.1 * length, rng.uniform(0.03, 0.14) * length
    limbs = [(foot + side * stride * aside, hip + 0.3 * side * thick * aside) for side in (-1, 1)]
    for side in (-1, 1):
        hand = hip + side * rng.uniform(0.1, 0.22) * length * aside + rng.uniform(-0.05, 0.2) * length * along
        limbs.append((neck + side * 0.7 * thick * aside, hand))
    outlines = [ribbon(np.linspace(*limb, 5), np.full(5, 0.33 * thick)) for limb in limbs]
    body = ribbon(np.linspace(hip, neck, 8), np.linspace(0.6, 1, 8) * thick)
    return [*outlines, body, blob(rng, neck + 0.09 * length * along, 0.075 * length, 0.08)]


def shadow(rng, shape, unit):
    """(H, W) float32, 1 in the shadow of a pole, a house, someone or leaves out of view; mostly no shadow at all."""
    kind = rng.choice(["none", "pole", "edge", "leaves", "person"], p=[0.64, 0.11, 0.11, 0.08, 0.06])
    if kind == "none":
        return np.zeros(shape, np.float32)
    start, angle, length = across(rng, shape)
    angle += rng.uniform(-0.6, 0.6)
    if kind == "leaves":
        dark = smooth_step(1.3 * clouds(rng, shape, rng.uniform(30, 110) * unit, 4) + rng.uniform(-1, 1))
    elif kind == "person":
        dark = polygon(shape, *person(rng, random_point(rng, shape), angle, rng.uniform(0.5, 1.1) * min(shape)))
    else:
        width = rng.uniform(15, 120) if kind == "pole" else rng.uniform(300, 700)
        dark = polygon(shape, bar(start, angle, length, width * unit))
    return cv2.GaussianBlur(dark, (0, 0), rng.uniform(1.5, 10) * unit)


def shift(image, dx, dy):
    """Moves (H, W) by a fraction of pixels; the border is repeated."""
    h, w = image.shape
    move = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(image, move, (w, h), borderMode=cv2.BORDER_REPLICATE)


def light(rng, scene):
    """(H, W, 3) float32: sun, by slope and with the relief's own shadows, and blueish sky, less in pits."""
    height, unit, azimuth = scene.height, scene.unit, rng.uniform(0, 2 * np.pi)
    sunny, low = rng.uniform(0.35, 0.8) if rng.random() < 0.6 else rng.uniform(0, 0.2), rng.uniform(0.5, 1.3)
    to_sun = directions(azimuth)
    slope = height - shift(height, -to_sun[0], -to_sun[1])  # > 0 where the ground faces the sun
    higher = np.max(
        [shift(height, -d * unit * to_sun[0], -d * unit * to_sun[1]) - d * unit / low for d in (1.5, 3, 5)], axis=0
    )
    lit = np.clip(1 + low * slope, 0.1, 2) * (1 - 0.8 * smooth_step((higher - height) / unit))
    lit *= 1 - shadow(rng, scene.shape, unit)
    pit = cv2.GaussianBlur(height, (0, 0), 3 * unit) - height
    sky = np.clip(1 - 0.35 * pit / unit, 0.15, 1.3)
    blue = np.float32([0.92, 1.0, 1.12]) ** (1.5 * sunny)
    return sunny * lit[..., None] + (1 - sunny) * sky[..., None] * blue


def camera_view(rng, shape):
    """3 x 3 homography, scene -> photo: held not quite straight; the photo always lies inside the scene."""
    h, w = shape
    corners = np.float32([[0, 0], [w, 0], [w, h], [0, h]])
    inwards = np.float32([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * rng.uniform(0, 0.09, (4, 2)) * [w, h]
    return cv2.getPerspectiveTransform((corners + inwards).astype(np.float32), corners)


def expose(rng, photo):
    """Linear (H, W, 3) -> 0..1 for the screen: vignette, white balance, exposure, gamma."""
    h, w = photo.shape[:2]
    x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    fall = 1 - rng.uniform(0, 0.22) * (x * x + y * y) + rng.normal(0, 0.06) * x + rng.normal(0, 0.06) * y
    cast = np.exp(rng.normal(0, [0.05, 0.01, 0.07]))
    brightness = (rng.uniform(65, 185) / 255) ** 2.2
    gain = (brightness / photo.mean() * cast).astype(np.float32)
    drift = 1 + x[:, None] * rng.normal(0, [0.03, 0.008, 0.04]).astype(np.float32)  # phones tint one side
    return cv2.pow(np.clip(photo * fall[..., None] * drift * gain, 0, 1), 1 / 2.2)


def photograph(rng, photo, unit):
    """Linear (H, W, 3) float32 -> (H, W, 3) uint8 RGB: lens blur, exposure, noise, a phone's sharpening."""
    photo = cv2.GaussianBlur(photo, (0, 0), log_uniform(rng, 0.3, 1.0) * unit)
    screen = expose(rng, photo)
    sigma = log_uniform(rng, 0.004, 0.025)
    screen += sigma * rng.standard_normal(screen.shape, dtype=np.float32)
    soft = cv2.GaussianBlur(screen, (0, 0), 1.2 * unit)
    screen += rng.uniform(0, 1.6) * (screen - soft)
    return np.clip(screen * 255 + 0.5, 0, 255).astype(np.uint8)
