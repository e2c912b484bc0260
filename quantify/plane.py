"""The road as a plane: from the corners of something flat and known to the road seen from straight above.

A homography is a (3, 3) matrix that maps the points of one plane to another: multiply it with (x, y, 1) and divide by
the third number of the result (Hartley and Zisserman, "Multiple View Geometry in Computer Vision", 2nd ed. 2004,
chapter 2). Points are (N, 2) arrays of x and y; pixel centres lie at whole numbers. Lens distortion and an uneven road
are left out.
"""

import cv2
import numpy as np

FARTHEST = 0.35  # parts of the road 1 / 0.35 times as far from the camera as the sheet are too coarse to measure
CORNER_PX = 0.3  # standard deviation of a corner that was found in the photo
GRID = 7  # points of the photo along each side at which errors are computed


def project(homography, points):
    """(N, 2) points through a homography -> (N, 2)."""
    homogeneous = np.c_[points, np.ones(len(points))] @ homography.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def nearness(plane, points):
    """(N, 2) px -> (N,): 1 / distance from the camera, in units of the sheet's: 1 at the sheet, 0 at the horizon.

    It is the third number of a homography's result, which is inversely proportional to the depth.
    """
    return points @ plane[2, :2] + plane[2, 2]


def road_plane(corners, sheet):
    """Corners (4, 2) px in the photo and (4, 2) mm on the road -> (3, 3) px to mm, with nearness 1 in their middle."""
    plane = cv2.getPerspectiveTransform(np.float32(corners), np.float32(sheet))
    return plane / nearness(plane, np.mean(corners, axis=0, keepdims=True))


def visible_part(plane, shape):
    """Corners (N, 2) px of the convex part of an (H, W) photo that is nearer than FARTHEST."""
    height, width = shape[:2]
    rim = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], float)
    margin = nearness(plane, rim) - FARTHEST
    part = []
    for k in range(4):
        following = (k + 1) % 4
        if margin[k] >= 0:
            part.append(rim[k])
        if margin[k] * margin[following] < 0:  # the limit crosses this side of the photo: margin is linear along it
            share = margin[k] / (margin[k] - margin[following])
            part.append(rim[k] + share * (rim[following] - rim[k]))
    return np.array(part)


def view_from_above(plane, middle, shape):
    """-> (homography of photo px to px of the road seen from above, mm per pixel there).

    middle: (2,) px, where the sheet lies. What points up in the photo there points up in the result. A pixel of the
    result is as large as a pixel of the photo at the sheet, or larger, so that the result has at most twice as many
    pixels as the photo: towards the horizon a photo shows kilometres.
    """
    # where half a pixel below, above, right and left of the middle lie on the road
    steps = np.array([(0, 0.5), (0, -0.5), (0.5, 0), (-0.5, 0)])
    below, above, right, left = project(plane, middle + steps)
    down, across = below - above, right - left

    # the parallelogram that the pixel covers on the road has this side if it is drawn as a square
    mm_per_pixel = np.sqrt(abs(down[0] * across[1] - down[1] * across[0]))

    # a rotation that takes the direction `down` on the road to the direction down of the result
    rotation = np.array([(down[1], -down[0]), (down[0], down[1])]) / np.hypot(*down)
    corners_mm = project(plane, visible_part(plane, shape)) @ rotation.T

    width, height = np.ptp(corners_mm, axis=0) / mm_per_pixel + 1
    allowed = 2 * shape[0] * shape[1]
    mm_per_pixel *= max(1, np.sqrt(width * height / allowed))

    # millimetres to pixels, with the leftmost and topmost point at 0
    to_pixels = np.eye(3)
    to_pixels[:2] = np.c_[rotation, -corners_mm.min(axis=0)] / mm_per_pixel
    return to_pixels @ plane, float(mm_per_pixel)


def grid_points(plane, shape):
    """(N, 2) px: points all over an (H, W) photo that are nearer than FARTHEST."""
    x, y = np.meshgrid(np.linspace(0, shape[1] - 1, GRID), np.linspace(0, shape[0] - 1, GRID))
    points = np.c_[x.ravel(), y.ravel()]
    return points[nearness(plane, points) >= FARTHEST]


def log_pixel_size(plane, points):
    """(N,) logarithm of the side of a pixel on the road.

    A homography enlarges areas by det / nearness ** 3, the determinant of its derivative; a side is the root.
    """
    return 0.5 * np.log(np.linalg.det(plane)) - 1.5 * np.log(np.maximum(nearness(plane, points), 1e-3))


def size_errors(corners, sheet, points):
    """(N,) relative error (1 sigma) of lengths at these points if every corner is found to CORNER_PX.

    Each of the eight coordinates is moved in turn; the changes are independent, so their squares add up.
    """
    middle = log_pixel_size(road_plane(corners, sheet), points)
    moves = CORNER_PX * np.eye(8).reshape(8, 4, 2)
    changes = [log_pixel_size(road_plane(corners + move, sheet), points) - middle for move in moves]
    return np.sqrt(np.sum(np.square(changes), axis=0))


def difference(one, other, points):
    """Relative difference of lengths between two planes of one photo: root mean square over points and directions."""
    stretches = [np.linalg.svd(_derivative(other, p) @ np.linalg.inv(_derivative(one, p)))[1] for p in points]
    return float(np.sqrt(np.mean(np.log(stretches) ** 2)))


def _derivative(plane, point):
    """(2, 2): how a point on the road moves, in mm, when its pixel moves by 1 to the right and by 1 down."""
    x, y = project(plane, point[None])[0]
    top = plane[:2, :2] - np.outer((x, y), plane[2, :2])  # quotient rule
    return top / nearness(plane, point[None])[0]
