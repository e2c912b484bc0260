"""Random changes of a training photo for the weights that ship: stronger than the course's five in augment.py.

Each change is one function. Photos are float32 (H, W, 3), 0 to 255; masks are uint8 (H, W) of 0 and 1.
"""

import cv2
import numpy as np

from data.asphalt import log_uniform

CROP = 384  # pixels; a square of the photo is cheaper than the whole photo and is another one each time
VIEW = 512  # the longer side at which the network looks at a photo
SCALES = 0.5, 3.0  # of that view
CRACK_IN_CROP = 0.5  # share of the crops of a cracked photo that are placed on its crack
FINEST_COVER = 0.5  # share of a pixel that a crack must cover to count, after the photo was made smaller
LOCAL = 24  # pixels: sigma of the surroundings about which local contrast is scaled


# ---------------------------------------------------------------------------------------------------- where
def centre_of_crop(mask, rng):
    """x, y of a random pixel, mostly one of the crack."""
    rows, columns = np.nonzero(mask)
    if len(rows) and rng.random() < CRACK_IN_CROP:
        chosen = rng.integers(len(rows))
        return np.array([columns[chosen], rows[chosen]]) + rng.uniform(-CROP / 3, CROP / 3, 2)
    height, width = mask.shape
    return rng.uniform([0, 0], [width, height])


def crop_matrix(shape, centre, angle, flip):
    """2×3 affine map of a photo to a CROP that shows `centre` in its middle, or the nearest that stays inside."""
    height, width = shape
    half = CROP / 2
    sides = np.array([width, height])
    inside = np.clip(centre, np.minimum(half, sides / 2), np.maximum(sides - half, sides / 2))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1 if flip else 1, 1])
    return np.column_stack([turn, half - 0.5 - turn @ inside])


def place(photo, mask, rng):
    """Random scale, rotation, mirroring and place: uint8 photo and mask of any size -> CROP × CROP."""
    scale = min(1.0, VIEW / max(mask.shape)) * log_uniform(rng, *SCALES)
    height, width = (max(8, round(side * scale)) for side in mask.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    photo = cv2.resize(photo, (width, height), interpolation=method)
    cover = cv2.resize(mask.astype(np.float32), (width, height), interpolation=method)
    angle = rng.choice(4) * np.pi / 2
    if rng.random() < 0.5:
        angle += rng.uniform(-np.pi / 6, np.pi / 6)
    affine = crop_matrix((height, width), centre_of_crop(cover >= FINEST_COVER, rng), angle, rng.random() < 0.5)
    photo = cv2.warpAffine(photo, affine, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    cover = cv2.warpAffine(cover, affine, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return photo.astype(np.float32), (cover >= FINEST_COVER).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- light
def fade_crack(photo, mask, rng):
    """Makes the crack fainter or darker than it is, against the road beside it."""
    if not mask.any():
        return photo
    road = cv2.GaussianBlur(1.0 - mask, (0, 0), 8)
    beside = cv2.GaussianBlur(photo * (1.0 - mask[..., None]), (0, 0), 8) / (road[..., None] + 0.01)
    crack = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
    darker = beside - cv2.GaussianBlur(photo, (0, 0), 2)
    return photo + rng.uniform(-0.6, 0.8) * crack[..., None] * darker


def blacken_crack(photo, mask, rng):
    """Fills the crack with one dark tone, as wide cracks with smooth sides look: black, without gravel or sand."""
    inside = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), log_uniform(rng, 0.5, 2.5))[..., None]
    tone = rng.uniform(5, 50) + rng.normal(0, 3, 3)
    detail = photo - cv2.GaussianBlur(photo, (0, 0), 4)
    filled = np.float32(tone) + rng.uniform(0, 0.3) * detail
    return photo + rng.uniform(0.6, 1.0) * inside * np.minimum(filled - photo, 0)


def local_contrast(photo, rng):
    """Scales all detail, so that rough roads become flat; the large bright and dark areas stay."""
    small = cv2.resize(photo, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(small, (0, 0), LOCAL / 4)
    around = cv2.resize(around, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return around + rng.uniform(0.3, 1.15) * (photo - around)


def gamma(photo, rng):
    """Bends the brightness curve: dark or bright tones come closer together."""
    return 255 * np.power(np.clip(photo, 0, 255) / 255, log_uniform(rng, 0.6, 1.7), dtype=np.float32)


def brightness(photo, rng):
    """Brighter or darker, with a tint, and more so towards one side."""
    across = np.linspace(-1, 1, photo.shape[1], dtype=np.float32)
    down = np.linspace(-1, 1, photo.shape[0], dtype=np.float32)[:, None]
    slope = 1 + rng.normal(0, 0.08) * across + rng.normal(0, 0.08) * down
    tint = np.exp(rng.normal(0, [0.06, 0.03, 0.08]))
    return photo * slope[..., None] * np.float32(log_uniform(rng, 0.7, 1.3) * tint)


def grey(photo, rng):
    """Takes the colour away."""
    return np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)


def blur(photo, rng):
    """Out of focus."""
    return cv2.GaussianBlur(photo, (0, 0), log_uniform(rng, 0.5, 2.5))


def sharpen(photo, rng):
    """As phones do it: the difference to a blurred copy is added."""
    return photo + rng.uniform(0.3, 1.5) * (photo - cv2.GaussianBlur(photo, (0, 0), 1.2))


def noise(photo, rng):
    """Gaussian noise of a camera."""
    return photo + log_uniform(rng, 1, 10) * rng.standard_normal(photo.shape, dtype=np.float32)


def jpeg(photo, rng):
    """Compresses the photo, as phones and messengers do."""
    quality = int(rng.integers(35, 95))
    pixels = np.clip(photo, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1).astype(np.float32)


LIGHT = {local_contrast: 0.6, gamma: 0.4, brightness: 0.7, grey: 0.1, blur: 0.3, sharpen: 0.15, noise: 0.4, jpeg: 0.4}
# and how often each is done, in this order
FADED = 0.4  # share of the cracked crops whose crack is made fainter or darker
BLACKENED = 0.2  # share of the cracked crops whose crack is filled with a dark tone instead


def vary(photo, mask, rng):
    """(H, W, 3) uint8 photo and (H, W) uint8 mask of any size -> both CROP × CROP, changed."""
    photo, mask = place(photo, mask, rng)
    kind = rng.random()
    if kind < FADED:
        photo = fade_crack(photo, mask, rng)
    elif kind < FADED + BLACKENED:
        photo = blacken_crack(photo, mask, rng)
    for change, share in LIGHT.items():
        if rng.random() < share:
            photo = change(photo, rng)
    return np.clip(photo + 0.5, 0, 255).astype(np.uint8), mask
