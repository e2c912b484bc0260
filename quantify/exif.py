"""What a photo's EXIF says about the camera and the place: a reader for the few tags that are needed."""

import struct

import numpy as np

DIAGONAL_35MM = np.hypot(36, 24)
EXIF_BYTES = 1 << 18  # EXIF stands in the first 64 KiB block or two
KINDS = {2: "c", 3: "H", 4: "I", 5: "II"}  # TIFF types: text, short, long, a fraction of two longs


def exif(path):
    """Image file -> {"focal_35mm": mm or None, "gps": (latitude, longitude) in degrees or None}; never raises.

    From the EXIF of a JPEG or TIFF: focal length for 35 mm film, or the true one and the sensor's size. What is
    missing, damaged or impossible is None.
    """
    try:
        with open(path, "rb") as file:
            block = _tiff(file.read(EXIF_BYTES))
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        first = _tags(block, order, struct.unpack_from(order + "I", block, 4)[0])
        camera, place = (_tags(block, order, first[tag][0]) if tag in first else {} for tag in (0x8769, 0x8825))
        size = {f"pixel_{side}": camera.get(tag, [None])[0] for side, tag in (("width", 0xA002), ("height", 0xA003))}
        return {"focal_35mm": _focal(camera), "gps": _gps(place)} | size
    except (OSError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return {"focal_35mm": None, "gps": None, "pixel_width": None, "pixel_height": None}


def _tiff(data):
    """The start of a file -> its EXIF block, which begins with the byte order."""
    at = 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff":
        if data[at + 1 : at + 2] == b"\xe1" and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 :]
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return data


def _tags(block, order, at):
    """Directory at this offset -> {tag: list of numbers, or of letters}; long and strange values are left out."""
    found = {}
    for entry in range(min(struct.unpack_from(order + "H", block, at)[0], 256)):
        tag, kind, count = struct.unpack_from(order + "HHI", block, at + 2 + 12 * entry)
        where, form = at + 10 + 12 * entry, order + KINDS.get(kind, "") * min(count, 4)
        if kind not in KINDS or not 0 < count <= 4:
            continue
        if struct.calcsize(form) > 4:
            where = struct.unpack_from(order + "I", block, where)[0]
        if where + struct.calcsize(form) <= len(block):
            numbers = list(struct.unpack_from(form, block, where))
            pairs = zip(numbers[::2], numbers[1::2], strict=True) if kind == 5 else ()
            found[tag] = [a / b if b else np.nan for a, b in pairs] if kind == 5 else numbers
    return found


def _focal(camera):
    """EXIF camera tags -> focal length in mm as if on 35 mm film, or None."""
    focal, unit = camera.get(0xA405, [0])[0], {2: 25.4, 3: 10}.get(camera.get(0xA210, [2])[0], np.nan)
    if not focal and all(tag in camera for tag in (0x920A, 0xA20E, 0xA002, 0xA003)):
        pixels = np.hypot(camera[0xA002][0], camera[0xA003][0])
        diagonal = unit * pixels / camera[0xA20E][0] if camera[0xA20E][0] else np.nan
        focal = camera[0x920A][0] * DIAGONAL_35MM / diagonal if diagonal else np.nan
    return float(focal) if 1 <= focal <= 2000 else None


def _gps(place):
    """EXIF GPS tags -> (latitude, longitude), north and east positive, or None."""
    if not all(tag in place for tag in (1, 2, 3, 4)):
        return None
    angles = [place[ref + 1][0] + place[ref + 1][1] / 60 + place[ref + 1][2] / 3600 for ref in (1, 3)]
    latitude, longitude = (-a if place[ref][0] in (b"S", b"W") else a for a, ref in zip(angles, (1, 3), strict=True))
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None
