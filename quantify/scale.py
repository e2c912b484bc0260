"""How large is a pixel on the road? Flags, an A4 sheet, a marker or EXIF -> millimetres per pixel, the road from above.

Pixel centres lie at whole (x, y). Lens distortion and an uneven road are left out.
A marker to print: python quantify/scale.py marker.png
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import BadInput, Parser, execute
from formats.exif import DIAGONAL_35MM, exif
from quantify.sheet import SHEETS, draw_marker, find_a4, find_marker, rectangle

FARTHEST = 0.35  # seen from the camera, what is 1 / 0.35 times as far as the sheet is too coarse to measure
FINEST_MM, COARSEST_MM = 0.001, 100  # beyond them a pixel shows no road, or no crack: a slip of the pen
SCALE_FLAGS = ("--mm-per-pixel", "--reference", "--marker-mm", "--find-sheet", "--camera-height-mm")
CORNER_PX = 0.3  # 1 sigma of a found corner
SHEET_RELATIVE = 0.01  # paper curls, a printer does not print quite to scale, lenses bend lines
CLICK_PX, TAPE_RELATIVE = 2, 0.01  # both ends of a reference line together; its length on the road
GIVEN_RELATIVE, ROUGH_RELATIVE = 0.05, 0.2  # --mm-per-pixel as users know it; a hand-held camera's height
INSTEAD = "give --reference x1,y1,x2,y2,MM or --mm-per-pixel instead"


@dataclass(frozen=True)
class ScaleOptions:
    """Where the scale comes from, as the user asked: at most one of these is not None."""

    mm_per_pixel: float | None = None
    reference: tuple | None = None  # (x1, y1, x2, y2) in pixels, then the millimetres between the two points
    marker_mm: float | None = None  # side of the printed marker's black square
    sheet: str | None = None  # a key of sheet.PAPERS_MM that --find-sheet offers
    camera_height_mm: float | None = None

    @property
    def given(self):
        """Did the user ask for a scale at all?"""
        return any(value is not None for value in vars(self).values())


@dataclass(frozen=True)
class Scale:
    """What a pixel is on the road. BadInput if that is not a length above 0, or no crack could be seen."""

    mm_per_pixel: float  # in the road's plane; with a homography of the rectified photo
    relative: float  # of mm_per_pixel, 1 sigma: *_RELATIVE, CLICK_PX, or CORNER_PX carried through the homography
    source: str
    homography: np.ndarray | None = None  # (3, 3) photo -> rectified pixels, last row 1 at the sheet; None: from above
    tilt_deg: float = 10.0  # assumed where no homography takes it out
    note: str = ""  # what speaks against this scale, for the user to read; empty if nothing does

    def __post_init__(self):
        if not 0 < self.mm_per_pixel <= COARSEST_MM:
            raise BadInput(
                f"scale ({self.source}): {self.mm_per_pixel:.3g} mm a pixel; give one above 0 and up to {COARSEST_MM}"
            )


def positive(text):
    """Flag's text -> float above 0, for argparse, which names the flag."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 < value < np.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no length; give millimetres above 0, for example 0.5")
    return value


def pixel_size(text):
    """Flag's text -> millimetres a pixel, for argparse."""
    if not FINEST_MM <= (value := positive(text)) <= COARSEST_MM:
        raise argparse.ArgumentTypeError(f"{text}: give {FINEST_MM} to {COARSEST_MM} millimetres a pixel")
    return value


def reference(text):
    """ "x1,y1,x2,y2,MM" -> those five floats. Raises BadInput for anything else and for a line of no length."""
    try:
        x1, y1, x2, y2, mm = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--reference {text}: not x1,y1,x2,y2,MM; give five numbers, say 100,200,900,210,500") from None
    if not (np.isfinite([x1, y1, x2, y2]).all() and (x1, y1) != (x2, y2) and 0 < mm < np.inf):
        raise BadInput(f"--reference {text}: a line of no length; give two different points and millimetres above 0")
    return x1, y1, x2, y2, mm


def add_scale_flags(parser):
    """Give an ArgumentParser the flags that scale_options reads; at most one can be given."""
    group = parser.add_argument_group("scale", "one of these turns pixels into millimetres")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--mm-per-pixel", type=pixel_size, metavar="MM", help="size of a pixel on the road, from above")
    one.add_argument(
        "--reference",
        type=reference,
        metavar="x1,y1,x2,y2,MM",
        help="two points in the photo and the millimetres between them on the road",
    )
    one.add_argument(
        "--marker-mm",
        type=positive,
        metavar="MM",
        help="find an ArUco marker (DICT_4X4_50) whose black square has this side; "
        "python quantify/scale.py marker.png makes one to print; takes out the camera's tilt",
    )
    one.add_argument(
        "--find-sheet",
        choices=SHEETS,
        help="find a white sheet of this paper on the road; takes out the camera's tilt",
    )
    one.add_argument(
        "--camera-height-mm",
        type=positive,
        metavar="MM",
        help="rough: height above the road, with the focal length in the photo's EXIF",
    )


def scale_options(args):
    """Parsed arguments of add_scale_flags -> ScaleOptions."""
    return ScaleOptions(
        mm_per_pixel=args.mm_per_pixel,
        reference=args.reference,
        marker_mm=args.marker_mm,
        sheet=args.find_sheet,
        camera_height_mm=args.camera_height_mm,
    )


def find_scale(photo, path, options):
    """(H, W, 3) uint8 RGB, its file, ScaleOptions -> Scale, or None if none was asked for.

    Raises BadInput for what is asked for and not in the photo: a line, a sheet, a marker, a focal length.
    """
    if options.mm_per_pixel is not None:
        return Scale(options.mm_per_pixel, GIVEN_RELATIVE, "given with --mm-per-pixel, not measured in the photo")
    if options.reference is not None:
        return _along_line(photo, path, options.reference)
    if options.marker_mm is not None:
        return _from_marker(photo, path, options.marker_mm)
    if options.sheet is not None:
        return _from_a4(photo, path)
    if options.camera_height_mm is not None:
        return _from_height(photo, path, options.camera_height_mm)
    return None


def _along_line(photo, path, reference):
    """Scale from a line of known length. Raises BadInput where it leaves the photo."""
    x1, y1, x2, y2, mm = reference
    height, width = photo.shape[:2]
    if not (min(x1, x2) >= 0 and max(x1, x2) <= width - 1 and min(y1, y2) >= 0 and max(y1, y2) <= height - 1):
        raise BadInput(f"{path}: --reference leaves the photo of {width}×{height} pixels; give points inside it")
    length = float(np.hypot(x2 - x1, y2 - y1))
    return Scale(mm / length, float(np.hypot(CLICK_PX / length, TAPE_RELATIVE)), "reference line")


def _from_height(photo, path, height_mm):
    """Scale of a camera that looks straight down. Raises BadInput without a focal length."""
    focal = exif(path)["focal_35mm"]
    if focal is None:
        raise BadInput(f"{path}: no focal length in its EXIF for --camera-height-mm; {INSTEAD}")
    pixel = height_mm * DIAGONAL_35MM / (focal * np.hypot(*photo.shape[:2]))
    return Scale(float(pixel), ROUGH_RELATIVE, "camera height and EXIF focal length (rough)")


def _from_marker(photo, path, mm):
    """Scale from the largest ArUco marker. Raises BadInput where there is none."""
    corners = find_marker(photo)
    if corners is None:
        raise BadInput(f"{path}: no ArUco marker of DICT_4X4_50 found; show it sharp, with its white rim, or {INSTEAD}")
    return _from_corners(corners, rectangle(mm, mm), photo.shape, "ArUco marker")


def _from_a4(photo, path):
    """Scale from the largest sheet that can be A4. Raises BadInput where there is none."""
    focal = exif(path)["focal_35mm"]
    found = find_a4(photo, None if focal is None else focal / DIAGONAL_35MM)
    if found is None:
        raise BadInput(f"{path}: no A4 sheet found; lay it flat, white side up, whole in the photo, or {INSTEAD}")
    return _from_corners(*found, photo.shape, "A4 sheet")


def _apply(homography, points):
    """(N, 2) -> (N, 2)."""
    ahead = np.c_[points, np.ones(len(points))] @ homography.T
    return ahead[:, :2] / ahead[:, 2:]


def _nearness(homography, points):
    """(N, 2) -> (N,) how near the camera is the road there: 1 at the sheet, 0 at the horizon."""
    return points @ homography[2, :2] + homography[2, 2]


def _visible(homography, shape):
    """Corners (N, 2) px of the convex part of the photo that is nearer than FARTHEST."""
    rim, out = rectangle(shape[1] - 1, shape[0] - 1) + (shape[1] / 2 - 0.5, shape[0] / 2 - 0.5), []
    near = _nearness(homography, rim) - FARTHEST
    for k in range(4):
        out += [rim[k]] if near[k] >= 0 else []
        if near[k] * near[k - 3] < 0:  # k - 3: the next corner
            out.append(rim[k] + near[k] / (near[k] - near[k - 3]) * (rim[k - 3] - rim[k]))
    return np.array(out)


def _from_corners(corners, sheet, shape, source):
    """Corners (4, 2) px in the photo and (4, 2) mm on the road -> Scale; at the sheet, the photo's up stays up.

    A pixel of the rectified photo is as large as at the sheet, or so large that twice the photo's pixels suffice.
    """
    plain, middle = _plane(corners, sheet), np.mean(corners, axis=0, keepdims=True)
    step = 0.5 * np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])
    below, above, right, left = _apply(plain, middle + step)
    down, across = below - above, right - left
    mm = np.sqrt(abs(down[0] * across[1] - down[1] * across[0]))
    turn = np.array([(down[1], -down[0]), (down[0], down[1])]) / np.hypot(*down)
    seen = _apply(plain, _visible(plain, shape)) @ turn.T
    mm *= max(1, np.sqrt(np.prod(np.ptp(seen, axis=0) / mm + 1) / (2 * shape[0] * shape[1])))
    shift = np.eye(3)
    shift[:2] = np.c_[turn, -seen.min(0)] / mm
    return Scale(float(mm), _sheet_relative(corners, sheet, shape), source, shift @ plain, tilt_deg=0.0)


def _plane(corners, sheet):
    """(3, 3) photo px -> road mm, divided so that _nearness is 1 in the middle of the corners."""
    plain = cv2.getPerspectiveTransform(np.float32(corners), np.float32(sheet))
    return plain / _nearness(plain, np.mean(corners, axis=0, keepdims=True))


def _sheet_relative(corners, sheet, shape):
    """Relative error of lengths, root mean square over the photo: every corner off by CORNER_PX, and the sheet."""
    x, y = np.meshgrid(np.linspace(0, shape[1] - 1, 7), np.linspace(0, shape[0] - 1, 7))
    plain, points = _plane(corners, sheet), np.c_[x.ravel(), y.ravel()]
    points = points[_nearness(plain, points) >= FARTHEST]

    def log_size(homography):  # of a pixel on the road: its area is det / nearness ** 3
        return 0.5 * np.log(np.linalg.det(homography)) - 1.5 * np.log(np.maximum(_nearness(homography, points), 1e-3))

    moves = CORNER_PX * np.eye(8).reshape(8, 4, 2)
    errors = [log_size(_plane(corners + move, sheet)) - log_size(plain) for move in moves]
    return float(np.sqrt(np.mean(np.sum(np.square(errors), 0)) + SHEET_RELATIVE**2))


def rectify(image, scale):
    """The road from above: -> (image, valid (H', W') bool, mm_per_pixel). Only valid pixels show road: count those.

    image is a photo (H, W, 3) uint8, a probability (H, W) float32 (both bilinear, 0 where not valid) or a mask (H, W)
    uint8 0/1 (smooth, then cut at a half). Without a homography it comes back as it is.
    """
    if scale.homography is None:
        return image, np.ones(image.shape[:2], bool), scale.mm_per_pixel
    corners = _apply(scale.homography, _visible(scale.homography, image.shape))
    width, height = np.ceil(corners.max(0)).astype(int) + 1
    valid = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), np.rint(corners).astype(np.int32), 1)
    mask = image.ndim == 2 and image.dtype == np.uint8
    source = image.astype(np.float32) if mask else image
    flat = cv2.warpPerspective(source, scale.homography, (int(width), int(height)), flags=cv2.INTER_LINEAR)
    flat = (flat > 0.5).astype(np.uint8) if mask else flat
    flat[valid == 0] = 0
    return flat, valid > 0, scale.mm_per_pixel


def main(argv=None):
    """Write a marker to print: black square and the white rim it needs."""
    parser = Parser("quantify/scale.py", description="Write a marker to print: lay it on the road, inference.py "
                    "--marker-mm finds it.", epilog="example:\n  python quantify/scale.py marker.png")  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE.png", help="where to write it")
    args = parser.parse_args(argv)
    if args.file.suffix != ".png":
        raise BadInput(f"{args.file}: a marker is written as .png; give a name such as marker.png")
    from formats.photo import write_image  # takes seconds, and the flags above are asked for by --help

    write_image(args.file, draw_marker())
    print(f"{args.file}: print it and measure the side of the black square in millimetres, for --marker-mm")


if __name__ == "__main__":
    execute(main)
