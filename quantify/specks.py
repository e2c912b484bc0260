"""Specks: pieces of a mask too small to be called a crack. They are in no mask, no picture, no number and no score.

In CrackForest's labels 0.1 % of the crack area lies in such pieces. In a network's masks they are a quarter of all
pieces, but 0.2 % of the area.
"""

import cv2
import numpy as np

from quantify.skeleton import ones

SPECK_SHARE = 0.02  # of the photo's longer side


def without_specks(mask):
    """(H, W) uint8 0/1 -> (mask without specks, number of specks).

    A speck is a connected piece whose bounding box has a diagonal under SPECK_SHARE of the longer side.
    """
    count, number = cv2.connectedComponents(mask, connectivity=8)
    # boxes of the crack's pixels alone: connectedComponentsWithStats, which goes over the road too, is slow
    pixels = ones(mask)
    y, x = np.divmod(pixels, mask.shape[1])
    piece = number.ravel()[pixels]
    diagonal = np.hypot(extents(x, piece, count), extents(y, piece, count))
    is_speck = diagonal < SPECK_SHARE * max(mask.shape)
    is_speck[0] = False  # number 0 is the road
    kept = mask.copy()
    kept.ravel()[pixels] = ~is_speck[piece]
    return kept, int(np.count_nonzero(is_speck))


def extents(places, piece, count):
    """x or y of pixels (N,), the number of the piece that each belongs to -> (count,) width or height of the pieces."""
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, piece, places)
    np.maximum.at(last, piece, places)
    return last - first + 1
