"""What a photo's EXIF block says about the camera, the place and which way is up. Pillow reads it."""

import math
import warnings

from PIL import ExifTags, Image

warnings.filterwarnings("ignore", module="PIL")  # of damaged EXIF; what it cannot read is None
Image.MAX_IMAGE_PIXELS = None  # only the start of a file is read here; photo.py has a limit of its own

DIAGONAL_35MM = math.hypot(36, 24)  # mm, of a frame of 35 mm film
MM_PER_UNIT = {2: 25.4, 3: 10.0}  # FocalPlaneResolutionUnit: inch, centimetre
NOTHING = {"focal_35mm": None, "gps": None, "pixel_width": None, "pixel_height": None}
CAMERA, PLACE, TAG = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.Base


def exif(path):
    """Image file -> dict; what is missing, damaged or impossible is None. Never raises.

    focal_35mm: focal length in mm as if on 35 mm film
    gps: (latitude, longitude) in degrees, north and east positive
    pixel_width, pixel_height: size of the picture as the camera stored it, before it is turned upright. A photo of
    another shape was cropped later.
    """
    try:
        with Image.open(path) as image:
            block = block_of(image)
            camera = readable(block, CAMERA)
            place = readable(block, PLACE)
    except Exception:  # Pillow raises a dozen types for files that are cut, foreign or not there
        return dict(NOTHING)
    return {
        "focal_35mm": focal_35mm(camera),
        "gps": position(place),
        "pixel_width": whole(camera.get(TAG.ExifImageWidth)),
        "pixel_height": whole(camera.get(TAG.ExifImageHeight)),
    }


def orientation_of(path):
    """Image file -> EXIF orientation, 1 (upright) to 8; 1 for a file that says none or cannot be read."""
    try:
        with Image.open(path) as image:
            return orientation(image)
    except Exception:  # reading the photo says what is wrong with it
        return 1


def orientation(image):
    """Opened Pillow image -> EXIF orientation, 1 (upright) to 8; 1 where none can be read."""
    try:
        value = block_of(image).get(TAG.Orientation)
    except Exception:  # a damaged block
        return 1
    return value if value in range(1, 9) else 1


def block_of(image):
    """Opened Pillow image -> its EXIF block, empty where it has none.

    Not image.getexif() throughout: that decodes every PNG, and takes the orientation from XMP where EXIF has none, as
    browsers do not.
    """
    if image.format == "TIFF":
        return image.getexif()
    if image.format == "PNG" and "exif" not in image.info:
        position = image.fp.tell()
        image.fp.seek(0)
        holds_block = b"eXIf" in image.fp.read()
        image.fp.seek(position)
        if holds_block:
            image.load()  # the block stands behind the pixels
    block = Image.Exif()
    block.load(image.info.get("exif", b""))
    return block


def readable(block, directory):
    """EXIF block, one of its directories -> {tag: value}; {} where it is damaged."""
    try:
        return dict(block.get_ifd(directory))
    except Exception:  # an offset that points anywhere
        return {}


def number(value):
    """A value of EXIF -> float; nan where it is none: a text, a list, a fraction over zero."""
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan


def whole(value):
    """A value of EXIF -> int of at least 1, or None."""
    value = number(value)
    return int(value) if math.isfinite(value) and value >= 1 else None


def focal_35mm(camera):
    """EXIF camera tags -> focal length in mm as if on 35 mm film, or None.

    Where the tag of that name is missing, it is the true focal length times the film's diagonal over the sensor's. The
    sensor's size follows from the number of pixels and their density.
    """
    focal = number(camera.get(TAG.FocalLengthIn35mmFilm))
    if not focal > 0:  # 0 means unknown
        pixels = math.hypot(number(camera.get(TAG.ExifImageWidth)), number(camera.get(TAG.ExifImageHeight)))
        density = number(camera.get(TAG.FocalPlaneXResolution))  # pixels per unit
        unit = MM_PER_UNIT.get(camera.get(TAG.FocalPlaneResolutionUnit, 2), math.nan)
        if not (pixels > 0 and density > 0):
            return None
        sensor = unit * pixels / density
        focal = number(camera.get(TAG.FocalLength)) * DIAGONAL_35MM / sensor
    return focal if 1 <= focal <= 2000 else None


def position(place):
    """EXIF GPS tags -> (latitude, longitude) in degrees, north and east positive, or None."""
    latitude = degrees(place.get(ExifTags.GPS.GPSLatitude), place.get(ExifTags.GPS.GPSLatitudeRef), "NS")
    longitude = degrees(place.get(ExifTags.GPS.GPSLongitude), place.get(ExifTags.GPS.GPSLongitudeRef), "EW")
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # nan is neither
        return None
    return latitude, longitude


def degrees(angle, side, sides):
    """(degrees, minutes, seconds), a letter, its two choices -> degrees, negative for the second; nan if damaged."""
    if not isinstance(angle, tuple) or len(angle) != 3 or side not in tuple(sides):
        return math.nan
    units, minutes, seconds = map(number, angle)
    value = units + minutes / 60 + seconds / 3600
    return -value if side == sides[1] else value
