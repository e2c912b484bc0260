"""Specks: pieces of a mask too small to be called a crack. They are in no mask, no picture, no number and no score.

In CrackForest's labels 0.1 % of the crack area lies in such pieces. In a network's masks they are a quarter of all
pieces, but 0.2 % of the area.
"""

import cv2
import numpy as np
from scipy import ndimage

SPECK_SHARE = 0.02  # of the photo's longer side


def without_specks(mask):
    """(H, W) uint8 0/1 -> (mask without specks, number of specks).

    A speck is a connected piece whose bounding box has a diagonal under SPECK_SHARE of the longer side.
    """
    _, number = cv2.connectedComponents(mask, connectivity=8)
    kept, specks = mask.copy(), 0
    for piece, box in enumerate(ndimage.find_objects(number), start=1):  # 0 is the road
        if np.hypot(*number[box].shape) < SPECK_SHARE * max(mask.shape):
            kept[box][number[box] == piece] = 0
            specks += 1
    return kept, specks
