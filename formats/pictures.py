"""Pictures that need no measure of a crack: an outlined mask, a contact sheet; and saving a matplotlib figure."""

import cv2
import numpy as np
from matplotlib import rcParams

from command import written_whole
from formats.photo import ORANGE

rcParams["text.parse_math"] = False  # a $ in the name of a photo is a $
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def save_figure(path, fig):
    """A matplotlib figure as PNG or JPEG, as the path says, atomically."""
    with written_whole(path) as temporary:
        # photos do not get smaller with a higher level, only slower
        fig.savefig(temporary, dpi=110, pil_kwargs={"compress_level": 1})


def outlined(photo, mask):
    """Copy of the photo with an orange line one pixel outside the mask, so that a thin crack stays visible."""
    outlines, _ = cv2.findContours(cv2.dilate(mask, np.ones((3, 3), np.uint8)), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(photo.copy(), outlines, -1, ORANGE, 1)


def contact_sheet(tiles, columns=4):
    """[(caption, (h, w, 3) uint8)] -> one (H, W, 3) uint8 picture, each tile undistorted above its caption."""
    columns = min(columns, len(tiles))
    width = max(tile.shape[1] for _, tile in tiles) + 8
    strips = []
    for first in range(0, len(tiles), columns):
        row = tiles[first : first + columns]
        height = max(tile.shape[0] for _, tile in row)
        strip = np.full((height + 28, columns * width, 3), 255, np.uint8)
        for number, (caption, tile) in enumerate(row):
            left, below = number * width, tile.shape[0] + 20
            strip[: tile.shape[0], left : left + tile.shape[1]] = tile
            cv2.putText(strip, caption, (left, below), cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 1, cv2.LINE_AA)
        strips.append(strip)
    return np.vstack(strips)
