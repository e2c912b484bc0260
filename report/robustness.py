"""Harder versions of a test photo: (photo, mask, rng) -> (photo, mask); the mask changes only where the geometry does.

Unlike those of augment.py they are fixed in strength, so that two runs are asked the same.
"""

import cv2
import numpy as np


def unchanged(photo, mask, rng):
    """The photo and mask as they are."""
    return photo, mask


def light(gain, shift=0.0):
    """Brightness `gain` times as high, `shift` grey levels added."""
    return lambda photo, mask, rng: (np.clip(photo * np.float32(gain) + shift, 0, 255).astype(np.uint8), mask)


def noise(sigma):
    """Gaussian noise of `sigma` grey levels, drawn for every pixel and channel."""

    def change(photo, mask, rng):
        return np.clip(photo + rng.normal(0, sigma, photo.shape), 0, 255).astype(np.uint8), mask

    return change


def blur(photo, mask, rng):
    """Out of focus: sigma 1.5 pixels on a photo of 512, in proportion on others."""
    return cv2.GaussianBlur(photo, (0, 0), 1.5 * max(mask.shape) / 512), mask


def jpeg(photo, mask, rng):
    """Saved at quality 30, as a messenger might."""
    data = cv2.imencode(".jpg", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), mask


def shadow(photo, mask, rng):
    """A shadow with half the light; its straight edge crosses the middle third and is soft over 1 % of the photo."""
    height, width = mask.shape
    angle, middle = rng.uniform(0, 2 * np.pi), rng.uniform(1 / 3, 2 / 3, 2) * (width, height)
    x, y = np.arange(width) - middle[0], (np.arange(height) - middle[1])[:, None]
    depth = (np.cos(angle) * x + np.sin(angle) * y) / (0.01 * max(height, width))
    gain = 1 - 0.5 * np.clip(depth + 0.5, 0, 1)
    return (photo * gain[..., None]).astype(np.uint8), mask


def rotate(photo, mask, rng):
    """A quarter turn to the left."""
    return np.rot90(photo).copy(), np.rot90(mask).copy()


def resize(factor):
    """`factor` times as many pixels along each side; the mask by nearest neighbour."""

    def change(photo, mask, rng):
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        mask = cv2.resize(mask, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST_EXACT)
        return cv2.resize(photo, mask.shape[::-1], interpolation=method), mask

    return change


CHANGES = {
    "as it is": unchanged,
    "darker": light(0.5),
    "brighter": light(1.4, 20),
    "low contrast": light(0.4, 76),  # the greys 0 to 255 become 76 to 178
    "noise σ 10": noise(10),
    "noise σ 20": noise(20),
    "blur": blur,
    "JPEG 30": jpeg,
    "shadow edge": shadow,
    "rotated 90°": rotate,
    "half resolution": resize(0.5),
    "double resolution": resize(2),
}
