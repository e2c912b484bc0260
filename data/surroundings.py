"""What stands beside a road or throws its shadow on it, drawn into the camera's view: none of it is a crack.

Everything here takes a Scene in the photo's own pixels (asphalt.py), after the light and before the camera. What it
covers is marked as hidden, so that no crack is labelled there. `side` is the photo's shorter side in pixels.
"""

import cv2
import numpy as np

from data.asphalt import (
    bar,
    blob,
    clouds,
    directions,
    jagged,
    log_uniform,
    noise,
    polygon,
    random_point,
    ribbon,
    smooth_step,
    stroke,
    wander,
)


def ellipse(centre, radii, angle=0.0, corners=48):
    """(N, 2) outline; `angle` turns it."""
    around = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    x, y = radii[0] * np.cos(around), radii[1] * np.sin(around)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(centre) + np.stack([cos * x - sin * y, sin * x + cos * y], 1)


def paint(rng):
    """Colour of a car, a shoe, a bicycle, a number or (3,) float32; black, white and grey are the most common."""
    if rng.random() < 0.65:
        return np.float32(log_uniform(rng, 0.01, 0.7))
    return rng.dirichlet(np.ones(3)).astype(np.float32) * np.float32(log_uniform(rng, 0.1, 1))


# --------------------------------------------------------------------------------------- things beside the road
def far_side(rng, scene):
    """The top of the photo beyond the road: sky, a hedge, a wall or a verge, behind a kerb or a ragged edge."""
    h, w = scene.shape
    height = rng.uniform(0.06, 0.35) * h
    x = np.linspace(-0.1 * w, 1.1 * w, 60)
    edge = height + rng.normal(0, 0.12) * (x - w / 2)
    ragged = rng.choice([0, rng.uniform(1, 10)])
    edge = edge + ragged * noise(rng, (2, 60), 3)[0]
    area = polygon(scene.shape, np.vstack([np.stack([x, edge], 1), [[1.1 * w, -h], [-0.1 * w, -h]]]))
    kind = rng.choice([sky, hedge, wall, grass], p=[0.15, 0.35, 0.25, 0.25])
    scene.cover(area, kind(rng, scene.shape) * np.mean(scene.colour) * np.float32(rng.uniform(0.6, 1.8)))
    line = stroke(scene.shape, np.stack([x, edge], 1), log_uniform(rng, 1, 14))
    if rng.random() < 0.5:
        scene.cover(line, np.mean(scene.colour) * rng.choice([0.2, 1.5]))


def sky(rng, shape):
    """Brighter than everything, with a few clouds."""
    return (3 + 0.5 * clouds(rng, shape, 200))[..., None] * np.float32([0.85, 0.95, 1.1])


def hedge(rng, shape):
    """Leaves and the dark between them."""
    leaves = np.exp(0.8 * clouds(rng, shape, rng.uniform(4, 20), 4))
    return leaves[..., None] * np.float32([0.35, 0.5, 0.2]) * np.float32(rng.uniform(0.6, 1.4, 3))


def grass(rng, shape):
    """Blades that stand upright, green or dry."""
    blades = np.exp(0.6 * noise(rng, shape, (2, 12)) + 0.4 * clouds(rng, shape, 60))
    tint = np.float32([0.5, 0.6, 0.25]) if rng.random() < 0.6 else np.float32([0.9, 0.75, 0.5])
    return blades[..., None] * tint


def wall(rng, shape):
    """Bricks or slabs with joints, light or dark."""
    h, w = shape
    across, down = rng.uniform(20, 120), rng.uniform(10, 60)
    joint = rng.uniform(1, 3)
    rows, columns = np.arange(h)[:, None] + rng.uniform(0, down), np.arange(w)[None] + rng.uniform(0, across)
    shifted = columns + across / 2 * (rows // down % 2)
    joints = (rows % down < joint) | (shifted % across < joint)
    face = 1 + 0.15 * clouds(rng, shape, 30, 4)
    face = np.where(joints, face * rng.choice([0.35, 1.5]), face)
    return face[..., None].astype(np.float32) * np.exp(rng.normal(0, 0.15, 3)).astype(np.float32)


def paving(rng, scene):
    """A pavement or a verge along one side of the photo, behind a kerb stone: joints in a grid, or grass."""
    h, w = scene.shape
    middle, angle = random_point(rng, scene.shape, margin=0.1 * min(scene.shape)), rng.uniform(0, 2 * np.pi)
    away = directions(angle + np.pi / 2)
    reach = float(np.hypot(h, w))
    area = polygon(scene.shape, bar(middle - reach * directions(angle) + reach / 2 * away, angle, 2 * reach, reach))
    if area.mean() > 0.45:
        return
    ground = grass(rng, scene.shape) if rng.random() < 0.4 else slabs(rng, scene.shape, angle)
    scene.cover(area, ground * np.mean(scene.colour) * np.float32(rng.uniform(0.7, 1.6)))
    ends = [middle - reach * directions(angle), middle + reach * directions(angle)]
    kerb = stroke(scene.shape, ends, log_uniform(rng, 2, 40))
    scene.cover(kerb, np.mean(scene.colour) * rng.uniform(0.3, 1.8))


def slabs(rng, shape, angle):
    """Paving stones in rows along `angle`."""
    h, w = shape
    x, y = np.arange(w, dtype=np.float32)[None], np.arange(h, dtype=np.float32)[:, None]
    along, aside = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    length, width = rng.uniform(15, 140), rng.uniform(15, 140)
    shifted = along + length * rng.choice([0, 0.5]) * (aside // width % 2)
    stone = 1 + 0.25 * np.sin(17.3 * (shifted // length) + 91.7 * (aside // width))
    joint = rng.uniform(0.8, 4)
    joints = (shifted % length < joint) | (aside % width < joint)
    face = stone * np.where(joints, rng.uniform(0.15, 0.6), 1) * (1 + 0.15 * clouds(rng, shape, 4, 3))
    return face[..., None].astype(np.float32) * np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)


def wheel(rng, scene, centre=None, radius=None):
    """A tyre with its rim, seen from the side or askew, and the dark below it."""
    side = min(scene.shape)
    radius = radius or rng.uniform(0.1, 0.4) * side
    centre = random_point(rng, scene.shape, margin=0.6 * radius) if centre is None else centre
    flat, angle = rng.uniform(0.35, 1), rng.normal(0, 0.2)
    shade = polygon(scene.shape, ellipse(centre + [0, 0.9 * radius], [1.3 * radius, 0.3 * radius]))
    scene.darken(cv2.GaussianBlur(shade, (0, 0), 0.08 * radius), rng.uniform(0.3, 0.9))
    tyre = polygon(scene.shape, ellipse(centre, [flat * radius, radius], angle))
    tread = 1 + 0.3 * noise(rng, scene.shape, max(2, radius / 20))
    scene.cover(tyre, np.mean(scene.colour) * rng.uniform(0.08, 0.4) * tread[..., None])
    rim = polygon(scene.shape, ellipse(centre, [0.65 * flat * radius, 0.65 * radius], angle))
    scene.lay(rim, np.mean(scene.colour) * rng.uniform(0.4, 2.5))
    turn = rng.uniform(0, np.pi)
    spokes = [
        bar(centre + 0.1 * radius * directions(turn + k), turn + k, 0.5 * flat * radius, 0.1 * radius)
        for k in np.linspace(0, 2 * np.pi, rng.integers(5, 11), endpoint=False)
    ]
    scene.lay(0.8 * rim * polygon(scene.shape, *spokes), np.mean(scene.colour) * rng.uniform(0.05, 0.5))


def car(rng, scene):
    """Part of a car's body at the photo's edge: smooth paint, the thin gaps of its doors, a wheel, its shadow."""
    h, w = scene.shape
    side, right = min(scene.shape), rng.choice([-1, 1])
    foot = rng.uniform(0.1, 0.55) * h
    x = w / 2 + right * rng.uniform(-0.3, 0.5) * w
    outline = [
        [x, -0.1 * h],
        [x + right * rng.normal(0, 0.1) * w, foot],
        [x + right * 1.5 * w, foot + rng.normal(0, 30)],
    ]
    outline = np.array([*outline, [x + right * 1.5 * w, -0.1 * h]])
    body = polygon(scene.shape, outline)
    shade = cv2.GaussianBlur(polygon(scene.shape, outline + [0, 0.12 * side]), (0, 0), rng.uniform(2, 20))
    scene.darken(shade, rng.uniform(0.4, 0.85))
    shine = 1 + 0.4 * clouds(rng, scene.shape, 0.4 * side, 2)
    scene.cover(body, paint(rng) * np.mean(scene.colour) * 3 * shine[..., None])
    for _ in range(rng.integers(0, 4)):
        start = random_point(rng, scene.shape)
        heading = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.2)
        gap = wander(rng, start, heading, rng.uniform(0.2, 0.8) * side, 12, 0.05)
        scene.lay(body * stroke(scene.shape, gap, log_uniform(rng, 1, 5)), 0.02 * np.mean(scene.colour))
    if rng.random() < 0.7:
        radius = rng.uniform(0.12, 0.3) * side
        wheel(rng, scene, np.array([x + right * rng.uniform(0.1, 0.5) * w, foot - 0.3 * radius]), radius)


def bicycle(rng, scene):
    """A thin wheel with spokes and two tubes, and their shadow on the road."""
    side = min(scene.shape)
    centre, radius = random_point(rng, scene.shape), rng.uniform(0.2, 0.5) * side
    flat, angle = rng.uniform(0.3, 1), rng.normal(0, 0.5)
    ring = ellipse(centre, [flat * radius, radius], angle, 96)
    parts = [(np.vstack([ring, ring[:1]]), rng.uniform(0.03, 0.1) * radius)]
    parts += [([centre, ring[k]], 1) for k in range(0, 96, rng.integers(4, 9))]
    for _ in range(rng.integers(1, 4)):
        tube = rng.uniform(1, 3) * radius * directions(rng.uniform(0, 2 * np.pi))
        parts.append(([centre, centre + tube], rng.uniform(0.03, 0.09) * radius))
    away = rng.uniform(0.05, 0.5) * radius * directions(rng.uniform(0, 2 * np.pi))
    shade = sum(stroke(scene.shape, np.asarray(path) + away, width) for path, width in parts)
    share = rng.uniform(0.2, 0.7)
    scene.darken(cv2.GaussianBlur(smooth_step(shade), (0, 0), rng.uniform(0.7, 3)), share)
    tubes = smooth_step(sum(stroke(scene.shape, path, width) for path, width in parts))
    scene.cover(tubes, paint(rng) * np.mean(scene.colour) * 2)


def shoes(rng, scene):
    """The tips of the photographer's shoes at the lower edge, with soles and laces."""
    h, w = scene.shape
    side, colour = min(scene.shape), paint(rng)
    size, middle = rng.uniform(0.08, 0.16) * side, rng.uniform(0.2, 0.8) * w
    for foot in (-1, 1):
        centre = np.array([middle + foot * rng.uniform(1, 1.8) * size, h - rng.uniform(-0.5, 1) * size])
        sole = polygon(scene.shape, ellipse(centre, [size, 2.2 * size], foot * 0.15))
        shade = cv2.GaussianBlur(sole, (0, 0), 0.2 * size)
        scene.darken(shade, 0.5)
        scene.cover(sole, rng.choice([0.1, 1.5]) * np.mean(scene.colour))
        upper = polygon(scene.shape, ellipse(centre, [0.88 * size, 2.05 * size], foot * 0.15))
        scene.lay(upper, colour * np.mean(scene.colour) * 2 * (1 + 0.1 * noise(rng, scene.shape, 3))[..., None])
        for k in range(4):
            at = centre + [0, (-0.8 + 0.4 * k) * size]
            lace = stroke(scene.shape, [at - [0.5 * size, 0.1 * size], at + [0.5 * size, 0]], max(1, 0.08 * size))
            scene.lay(lace * upper, rng.choice([0.05, 1.8]) * np.mean(scene.colour))


def plants(rng, scene):
    """Weeds and tufts that grow on the road's edge: thin crooked blades from one root."""
    root, side = random_point(rng, scene.shape), min(scene.shape)
    green = np.float32([0.5, 0.7, 0.25]) if rng.random() < 0.6 else np.float32([0.8, 0.65, 0.4])
    for _ in range(rng.integers(5, 40)):
        path = wander(
            rng, root + rng.normal(0, 0.02 * side, 2), rng.uniform(0, 7), rng.uniform(0.03, 0.2) * side, 5, 0.3
        )
        blade = polygon(scene.shape, ribbon(path, np.linspace(rng.uniform(0.6, 2.5), 0.2, len(path))))
        scene.cover(blade, green * np.mean(scene.colour) * np.float32(log_uniform(rng, 0.3, 2)))


def cable(rng, scene):
    """A cable, a hose or a string on the road: of even width, in long bends, with a shadow beside it."""
    h, w = scene.shape
    width = log_uniform(rng, 1.5, 14)
    path = wander(rng, random_point(rng, scene.shape, 0.1 * h), rng.uniform(0, 7), 1.5 * np.hypot(h, w), 15, 0.25)
    shade = cv2.GaussianBlur(
        stroke(scene.shape, path + rng.normal(0, 0.6 * width, 2), width), (0, 0), 0.2 * width + 0.5
    )
    scene.darken(shade, 0.6)
    scene.cover(stroke(scene.shape, path, width), paint(rng) * np.mean(scene.colour) * 2)


# and how common each is
BESIDE = {far_side: 3, paving: 2.5, wheel: 1, car: 2, bicycle: 1, shoes: 1, plants: 1.5, cable: 0.7}


# ------------------------------------------------------------------------------------------------- thin shadows
def thin_shadow(rng, scene):
    """The shadow of branches, a fence, wires or a railing: thin dark lines on the road."""
    share, shape = rng.uniform(0.2, 0.75), scene.shape
    h, w = shape
    reach, kind = 1.3 * float(np.hypot(h, w)), rng.choice(["branches", "fence", "wires"])
    dark, soft = np.zeros(shape, np.float32), log_uniform(rng, 0.6, 5)
    if kind == "branches":
        for _ in range(rng.integers(2, 9)):
            path = wander(
                rng, random_point(rng, shape, 0.1 * h), rng.uniform(0, 7), rng.uniform(0.2, 0.9) * reach, 25, 0.3
            )
            path = jagged(rng, path, 0.06, 8)
            half = np.linspace(log_uniform(rng, 1, 8), 0.5, len(path))
            dark = np.maximum(dark, polygon(shape, ribbon(path, half)))
    else:
        angle, step = rng.uniform(0, np.pi), rng.uniform(15, 90)
        count = int(reach / step) if kind == "fence" else rng.integers(1, 4)
        start = random_point(rng, shape) - reach / 2 * directions(angle)
        width = log_uniform(rng, 1.2, 12)
        aside = step * directions(angle + np.pi / 2)
        lines = [bar(start + (k - count / 2) * aside, angle, reach, width) for k in range(count)]
        dark = polygon(shape, *lines)
    scene.darken(cv2.GaussianBlur(dark, (0, 0), soft), share)


def mark_text(rng, scene):
    """Letters or an arrow painted or printed on the photo, as on stock photos and road works."""
    h, w = scene.shape
    letters = "".join(rng.choice(list("ABCDEFGHKLMNRSTX0123456789"), rng.integers(2, 7)))
    ink = np.zeros(scene.shape, np.uint8)
    size, at = log_uniform(rng, 0.6, 5), random_point(rng, scene.shape, -0.1 * h).astype(int).tolist()
    cv2.putText(ink, letters, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255, max(1, round(size * 1.5)), cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D(at, rng.uniform(-40, 40), 1)
    ink = cv2.warpAffine(ink, turn, (w, h)).astype(np.float32) / 255
    scene.lay(ink * rng.uniform(0.3, 0.9), np.mean(scene.colour) * rng.choice([0.1, 3.0]))


def rain(rng, scene):
    """Dark drops on a dry road."""
    count = int(log_uniform(rng, 10, 300))
    spots = [blob(rng, random_point(rng, scene.shape), log_uniform(rng, 1, 5), 0.1, 10) for _ in range(count)]
    scene.darken(polygon(scene.shape, *spots), rng.uniform(0.2, 0.6))


ON_THE_ROAD = {thin_shadow: 3, mark_text: 0.7, rain: 0.5}
