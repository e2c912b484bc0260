"""Specks: pieces of a mask too small to be called a crack. They are in no mask, no picture, no number and no score.

In CrackForest's labels 0.1 % of the crack area lies in such pieces. In a network's masks they are a quarter of all
pieces, but 0.2 % of the area.
"""

import cv2
import numpy as np

SPECK_SHARE = 0.02  # of the photo's longer side


def without_specks(mask):
    """(H, W) uint8 0/1 -> (mask without specks, number of specks).

    A speck is a connected piece whose bounding box has a diagonal under SPECK_SHARE of the longer side.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    diagonal = np.hypot(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
    is_crack = diagonal >= SPECK_SHARE * max(mask.shape)
    is_crack[0] = False  # label 0 is the road
    specks = count - 1 - np.count_nonzero(is_crack)
    return is_crack.astype(np.uint8)[labels], int(specks)
