"""A photo on its way in and out: file -> RGB, RGB -> network input and back, image -> file."""

import glob
import io
import math
import re
import struct
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from command import BadInput, number_of, written_whole
from formats.archive import JUNK
from formats.exif import orientation

ORANGE = (230, 159, 0)  # a drawn crack: of Okabe and Ito's palette, safe for colour-blind readers
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
BESIDE_PHOTOS = (".json", ".csv", ".txt", ".html")  # lie beside photos and are none: passed over without a note
RESULTS = ("_mask.png", "_overlay.jpg", "_figure.png")  # what inference.py writes for NAME, in this order
MEGAPIXELS = 120  # more is refused: phones reach 50, some 108; a few kilobytes can claim thousands
SPAN = 16  # of 255: a photo whose values span less holds no picture; the noise of a camera alone spans more
STRAY = 1e-4  # share of values, at either end, that may be hot or dead pixels
WHITE_16 = 65535
GREY = 0.25  # of a mask: more than blurred edges, so a photo or an overlay
FLAT = ((8, 247, 0), (40, 215, 6))  # what third_level looks at: above, below, spread; JPEG spreads a flat level
LEAST_FLAT = 0.05  # of what is drawn, and
LEAST_FLAT_PX = 20  # pixels, that a third level covers
TILE, OVERLAP = 1024, 256  # pixels; the tile bounds the memory. Multiples of 32, to which inputs are padded
HEIC = "convert HEIC photos to JPEG first"
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
VIDEO = "survey.py takes videos, inference.py takes photos"
REMEDIES = {  # what to do with a file that is no image, by its suffix
    ".heic": HEIC,
    ".heif": HEIC,
    ".zip": "unpack it and give the folder with the photos, such as train/",
    ".json": "give photos, or the export to train.py --data or dataset.py",
    ".mp4": VIDEO,
    ".mov": VIDEO,
    ".avi": VIDEO,
}
JPEG_KINDS = ("JPEG", "MPO")  # Pillow calls a JPEG that holds further pictures MPO
JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # those that a segment follows, and the end; no restarts
ORIENTATION, MAX_SAMPLE_VALUE = 274, 281  # tags of TIFF
FLIPS = {2: 1, 4: 0}  # EXIF orientation -> code of cv2.flip
TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with a photo is said here, once


# --------------------------------------------------------------------------------------------- which files
def visible(folder):
    """The files and folders directly in a folder, sorted, without hidden ones and what systems leave behind.

    Hidden means that the name begins with a dot, like `._IMG_1.jpg`, which a Mac writes beside IMG_1.jpg.
    """
    folder = Path(folder)
    if folder.name in JUNK:
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in JUNK)


def pictures_in(folder, suffixes=frozenset(SUFFIXES)):
    """The pictures directly in a folder, sorted: photos and masks. Recognised by their suffix."""
    return [path for path in visible(folder) if path.suffix.lower() in suffixes and not path.is_dir()]


def photos_in(folder, suffixes=frozenset(SUFFIXES)):
    """The photos directly in a folder, sorted: its pictures without the results of inference.py."""
    ours = results_in(folder)
    return [path for path in pictures_in(folder, suffixes) if path not in ours]


def results_in(folder):
    """The set of pictures in a folder that inference.py wrote: NAME_mask.png and NAME_overlay.jpg, always both, and
    NAME_figure.png beside them. A folder of masks alone holds no results."""
    pictures = set(pictures_in(folder))
    results = set()
    for mask in pictures:
        if mask.name.endswith(RESULTS[0]):
            name = mask.name.removesuffix(RESULTS[0])
            written = [mask.with_name(name + end) for end in RESULTS]
            if written[1] in pictures:
                results |= pictures & set(written)
    return results


def left_out(folder, photos, silent=()):
    """What a folder holds besides these photos, in words such as "2 folders, 1 .heic file"; "" if there is nothing.

    Hidden files and those with a suffix in `silent` are not mentioned. HEIC is named with what to do about it.
    """
    photos = set(photos)
    others = [path for path in visible(folder) if path not in photos and path.suffix.lower() not in silent]
    folders = [path for path in others if path.is_dir()]
    results = results_in(folder) & set(others)
    kinds = Counter(path.suffix.lower() for path in others if path not in results and path not in folders)
    parts = [number_of(count, f"{kind} file" if kind else "file") for kind, count in kinds.items()]
    if results:
        parts.append(number_of(len(results), "picture") + " of an earlier prediction")
    if folders:
        parts.append(number_of(len(folders), "folder"))
    words = ", ".join(parts)
    heic = any(REMEDIES.get(kind) == HEIC for kind in kinds)
    return f"{words} ({HEIC})" if heic else words


def expand(arguments):
    """Paths from the command line -> list of Path, with *, ? and [...] expanded where the shell (on Windows) did not.

    Raises BadInput for a pattern that nothing matches and for a web address. A file whose own name holds such a letter
    is taken as it is.
    """
    paths = []
    for argument in map(str, arguments):
        if "://" in argument:
            raise BadInput(f"{argument}: a web address; download it first and give the file")
        if not glob.has_magic(argument) or Path(argument).exists():
            paths.append(Path(argument))
            continue
        found = sorted(glob.glob(argument))
        if not found:
            raise BadInput(f"{argument}: no file of such a name; check the folder")
        paths += map(Path, found)
    return paths


# ---------------------------------------------------------------------------------------------- file -> photo
@dataclass(frozen=True)
class Header:
    """What a file says about its picture before it is decoded."""

    kind: str  # Pillow's name of the format: JPEG, PNG, TIFF ...
    orientation: int  # EXIF: 1 is upright, 5 to 8 lie on their side
    transparent: bool  # may some of it be transparent?
    largest: int | None  # the value of white, where a TIFF states it


def read_photo(path, flags=cv2.IMREAD_COLOR):
    """Any image file -> (H, W, 3) uint8 RGB, upright as EXIF says; grey, alpha and 16 bit become RGB of 8 bit.

    With cv2.IMREAD_REDUCED_GRAYSCALE_4 it is (H/4, W/4) uint8 grey, several times faster; with another flag of that
    kind as that says.

    Raises BadInput for a file that is missing, is no image, is larger than MEGAPIXELS, ends too early or holds no
    picture. Damage in the middle of a JPEG passes: the decoder fills it in.
    """
    data, header = load(path)
    photo = eight_bit(path, decode(path, data, header, flags), header.largest)
    if flags == cv2.IMREAD_COLOR:  # averaged over 4 × 4 pixels, a smooth road can be nearly uniform
        check_picture(path, photo)
    return cv2.cvtColor(photo, cv2.COLOR_BGR2RGB) if photo.ndim == 3 else photo


def read_one(path):
    """The same, but raises BadInput for a mask, too, which would be taken for an odd photo."""
    photo = read_photo(path)
    if is_mask(photo):
        raise BadInput(f"{path}: a mask, all black and white; give the photo itself")
    return photo


def load(path):
    """File -> (its bytes, Header). Raises BadInput for what need not be decoded to be refused."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the name") from None
    header = read_header(path, data)
    if header.kind in JPEG_KINDS and not reaches_its_end(data):
        raise BadInput(f"{path}: JPEG ends too early; copy it again from the phone")  # old OpenCV fills in grey
    if header.kind == "TIFF":
        return unturned(data, header)
    return data, header


def read_header(path, data):
    """(path, bytes) -> Header. Raises BadInput: no image, or larger than MEGAPIXELS."""
    try:
        with Image.open(io.BytesIO(data)) as image:  # nothing is decoded
            width, height = image.size
            header = None
            if width * height <= MEGAPIXELS * 10**6:
                header = Header(image.format, orientation(image), image.has_transparency_data, stated_white(image))
    except Exception:  # Pillow raises a dozen types for files that are cut or foreign
        raise no_image(path, data) from None
    if header is None:
        raise BadInput(f"{path}: {width}×{height} are more than {MEGAPIXELS} megapixels; save it smaller first")
    return header


def stated_white(image):
    """Opened Pillow image -> the largest value that a TIFF says it may hold, or None."""
    if image.format != "TIFF" or MAX_SAMPLE_VALUE not in image.tag_v2:
        return None
    return int(np.max(image.tag_v2[MAX_SAMPLE_VALUE]))  # one for each channel


def no_image(path, data=b""):
    """BadInput with the remedy that fits the content, or else the file's suffix."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return BadInput(f"{path}: a HEIC photo, which cannot be read; {HEIC}")
    remedy = REMEDIES.get(Path(path).suffix.lower(), "open it and save it as JPEG or PNG")
    return BadInput(f"{path}: not an image that can be read; {remedy}")


def reaches_its_end(data):
    """Do these bytes of a JPEG hold its end? Zeros, a video or other data may follow, as phones write them.

    Goes from marker to marker: the end of a thumbnail lies inside a segment and is skipped with it.
    """
    found = JPEG_MARKER.search(data, 2)
    while found:
        if found[0] == b"\xff\xd9":
            return True
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        found = JPEG_MARKER.search(data, found.end() + length)
    return False


def unturned(data, header):
    """Bytes of a TIFF -> (the same with orientation 1, Header): OpenCV turns a TIFF in one way of reading and not in
    the other, so its tag is taken away and `decode` turns it."""
    order = "<" if data.startswith(b"II") else ">"
    for entry in ("HHIH", "HHQH"):  # tag, type, count and value in a TIFF and in a BigTIFF
        stated = struct.pack(order + entry, ORIENTATION, 3, 1, header.orientation)
        if stated in data:
            return data.replace(stated, struct.pack(order + entry, ORIENTATION, 3, 1, 1)), header
    return data, replace(header, orientation=1)  # none, or written in another way: left to OpenCV


def decode(path, data, header, flags):
    """What `load` gave, flags of cv2.imread -> upright array of the file's own depth, BGR or grey. Raises BadInput."""
    flags |= cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise no_image(path, data)
    return upright(pixels, header.orientation)


def upright(pixels, way):
    """(H, W) or (H, W, C) as stored, EXIF orientation -> the same, turned."""
    if way in (5, 7):
        pixels = cv2.transpose(pixels)
    if way in FLIPS:
        return cv2.flip(pixels, FLIPS[way])
    if way in TURNS:
        return cv2.rotate(pixels, TURNS[way])
    return pixels


def eight_bit(path, pixels, largest=None):
    """Decoded pixels, the value of white if the file states it -> uint8. Raises BadInput.

    Many cameras put values of 10, 12 or 14 bits into files of 16 and do not say so: read as they are, such photos are
    nearly black, so they are refused.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise BadInput(f"{path}: holds {pixels.dtype} values; save it as JPEG, or as PNG of 8 bits")
    if largest is not None and pixels.max() <= largest <= WHITE_16:
        return cv2.convertScaleAbs(pixels, alpha=255 / largest)
    photo = cv2.convertScaleAbs(pixels, alpha=255 / WHITE_16)
    brightest = max(high for _, high in value_ranges(photo))
    if brightest <= 64:  # the lower 14 bits hold no more
        raise BadInput(
            f"{path}: its 16-bit values reach only {brightest} of 255, as values of 10, 12 or 14 bits do that were not "
            "scaled to 16; scale them, or save it as JPEG"
        )
    return photo


def check_picture(path, photo):
    """Raises BadInput where the values of (H, W, 3) uint8 span almost nothing of 0 to 255, as in no photo."""
    sample = value_ranges(photo[::4, ::4], 16 * STRAY)  # all that it leaves out as stray may be all the stray there is
    if max(high - low for low, high in sample) >= SPAN:
        return
    low, high = max(value_ranges(photo), key=lambda ends: ends[1] - ends[0])
    if high - low < SPAN:
        raise BadInput(
            f"{path}: holds no picture, its values lie between {low} and {high} of 255; export it again as JPEG"
        )


def value_ranges(photo, stray=STRAY):
    """(H, W) or (H, W, C) uint8 -> [(lowest, highest value) of each channel], without a few hot or dead pixels."""
    ranges = []
    for channel in cv2.split(photo):
        counts = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel()
        share = np.cumsum(counts, dtype=np.float64) / channel.size
        low, high = np.searchsorted(share, stray, side="right"), np.searchsorted(share, 1 - stray)
        ranges.append((int(low), int(high)))
    return ranges


# ---------------------------------------------------------------------------------------------- file -> mask
def is_mask(photo):
    """Does it hold black and white and nothing between, as no photo does?"""
    sample = photo[::16, ::16]  # tells for nearly all photos
    for pixels in (sample, photo):
        if not ((pixels == 0) | (pixels == 255)).all():
            return False
    return bool(photo.min() < photo.max())


def read_mask(path):
    """Mask image of any program -> (H, W) uint8 of 0 and 1, split at half of white. Raises BadInput.

    White is 255, unless the file's largest value is 1: the one place where values decide, for masks of 0/1 and of 0/255
    are both common and nothing else in the file tells them apart. JPEG blurs 0 to 1, so white is always 255 there.
    Where some of it is transparent, the rest is the crack, if it has one colour.

    A file that is dark but not black is refused: a crack in red, or drawn in another number. So is one that is grey
    all over, a photo or the crack drawn onto it, and one with a third level, which could mean crack or not.
    """
    data, header = load(path)
    grey = decode(path, data, header, cv2.IMREAD_GRAYSCALE)
    if grey.dtype not in (np.uint8, np.uint16):
        raise BadInput(f"{path}: holds {grey.dtype} values; save the crack as 255 on 0 in 8 bit")
    if grey.max() > 255:  # 16 bit; where it holds 0 and 1, or 0 and 255, that is what it means
        grey = grey / 257
    if header.transparent:
        grey = by_transparency(grey, opacity(path, data, header))
    is_jpeg = header.kind in JPEG_KINDS
    if grey.max() == 1 and not is_jpeg:
        return grey.astype(np.uint8)
    dark = 20 if is_jpeg else 0
    if dark < grey.max() < 128:
        colours = np.ptp(decode(path, data, header, cv2.IMREAD_COLOR), axis=2)
        why = "the crack is in a colour" if colours.max() > 60 else f"its brightest value is {grey.max():.0f}"
        raise BadInput(f"{path}: not black and white, {why}; save the crack as 255 on 0")
    share = np.mean((grey > 40) & (grey < 215))
    if share > GREY:
        raise BadInput(f"{path}: not black and white, {share:.0%} of it is grey; save the crack alone, as 255 on 0")
    third = third_level(grey)
    if third is not None:
        raise BadInput(
            f"{path}: holds a third level, {third}, beside black and white; save what is crack as 255, all else as 0"
        )
    return (grey > 127.5).astype(np.uint8)


def third_level(grey):
    """(H, W) of 0 to 255 -> the grey of flat areas that are neither black nor white, or None.

    The soft edges of a crack are grey too, but lie near white, or have many values. A thin line that was made smaller
    is grey all along: it counts where it is darker than half of white and would be lost, else only solid areas do.
    """
    for low, high, spread in FLAT:
        white = grey >= high
        near_white = cv2.dilate(white.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0  # 8 pixels: a block of JPEG
        inside = (grey > low) & (grey < high) & ~near_white
        level = commonest(grey[inside], spread)
        flat = inside & (np.abs(grey - np.float32(level)) < spread + 0.5)
        solid = cv2.erode(flat.astype(np.uint8), np.ones((3, 3), np.uint8))
        counts = level <= 127 or solid.sum() > flat.sum() / 4
        drawn = np.count_nonzero(white | inside)
        least = max(np.count_nonzero(inside) / 2, LEAST_FLAT * drawn, LEAST_FLAT_PX)
        if white.any() and counts and np.count_nonzero(flat) > least:
            return level
    return None


def commonest(values, spread):
    """Values of 0 to 255 -> the middle of those that lie within `spread` of one and are the most; 0 where none are."""
    counts = np.bincount(np.rint(values).astype(np.int64), minlength=256)
    peak = int(np.convolve(counts, np.ones(2 * spread + 1, np.int64), "same").argmax())
    alike = values[np.abs(values - np.float32(peak)) < spread + 0.5]
    return round(float(np.median(alike))) if alike.size else 0


def opacity(path, data, header):
    """What `load` gave -> (H, W) uint8, upright: 255 where the picture is opaque, 0 where it is transparent.

    Raises BadInput for a damaged file, some of which OpenCV decodes and Pillow does not.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            alpha = np.array(image.convert("RGBA").getchannel("A"))
    except Exception:  # Pillow raises a dozen types
        raise no_image(path, data) from None
    return upright(alpha, header.orientation)


def by_transparency(grey, opaque):
    """Colours (H, W) and how opaque they are, 0 to 255 -> (H, W) where the crack is white.

    The opaque part is the crack, unless it holds black and white, or is dark and most of the picture, as no crack is.
    """
    seen = grey[opaque > 127]
    if opaque.min() == 255 or seen.size == 0:
        return grey if seen.size else opaque
    two_colours = seen.min() <= 127 < seen.max()
    road = seen.max() <= 127 and seen.size > opaque.size / 2
    if two_colours or road:
        return np.where(opaque > 127, grey, 0)
    return opaque


# ---------------------------------------------------------------------------------------------- image -> file
def at_most(picture, longest):
    """(H, W) or (H, W, 3) uint8 -> a copy whose longer side is at most `longest` pixels, shrunk if it is longer."""
    factor = min(1, longest / max(picture.shape[:2]))
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def picture_name(path):
    """The path, if OpenCV can write a picture of that name. Raises BadInput."""
    if not cv2.haveImageWriter(str(path)):
        raise BadInput(f"{path}: not the name of a picture; end it with .png or .jpg")
    return Path(path)


def write_image(path, image):
    """(H, W, 3) uint8 RGB or (H, W) uint8 -> an image file of the suffix's type, atomically."""
    path = picture_name(path)
    image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    with written_whole(path) as temporary:
        temporary.write_bytes(cv2.imencode(path.suffix, image)[1])


@dataclass(frozen=True)
class Preprocess:
    """The one way from a photo to the network's input and back; its values are saved in the checkpoint.

    The longer side becomes `size`, the aspect ratio stays, and the right and bottom are padded with the mean
    colour to a multiple of 32. Squashing the photo to size × size instead gave 0.548 against 0.543 validation IoU on
    CrackForest (6 epochs, one seed: within noise) for 1.5 times the work and bent cracks, so the ratio is kept.
    """

    size: int = 512
    mean: tuple = (0.485, 0.456, 0.406)
    std: tuple = (0.229, 0.224, 0.225)
    enlarges: bool = True  # whether a photo that is smaller than `size` is enlarged to it

    def __post_init__(self):
        colours = np.array([self.mean, self.std], float)
        three_each = colours.shape == (2, 3) and np.isfinite(colours).all() and colours[1].min() > 0
        if not (isinstance(self.size, int) and self.size >= 32 and three_each):
            raise ValueError(f"a size of at least 32 pixels, mean and deviation of three colours, got {self}")

    def shape(self, height, width):
        """Size (h, w) that a photo of height × width has inside the network's input."""
        scale = self.size / max(height, width)
        if not self.enlarges:
            scale = min(1.0, scale)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def resize(self, photo, mask=None):
        """uint8 photo (and mask) of any size -> at the input's size, not yet padded; the mask by nearest neighbour."""
        if photo.dtype != np.uint8:
            raise TypeError(f"a photo is uint8 RGB, got {photo.dtype}")
        height, width = self.shape(*photo.shape[:2])
        shrinks = height < photo.shape[0]
        photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        if mask is None:
            return photo
        # plain INTER_NEAREST takes the upper left neighbour: half a pixel off the photo
        return photo, cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)

    def normalise(self, photo):
        """(h, w, 3) uint8 at the input's size -> (3, h', w') float32, padded to multiples of 32.

        The same bits as torchvision's ToTensor and Normalize give, without torch.
        """
        values = photo.astype(np.float32) / np.float32(255)
        values = (values - np.float32(self.mean)) / np.float32(self.std)
        return pad(np.ascontiguousarray(values.transpose(2, 0, 1)), *ceil32(photo))

    def to_photo(self, probability, height, width):
        """(h', w') float32 network output -> (height, width): pad removed, resized bilinearly."""
        h, w = self.shape(height, width)
        return cv2.resize(probability[:h, :w], (width, height), interpolation=cv2.INTER_LINEAR)


def ceil32(image):
    """Height and width rounded up to multiples of 32: most encoders halve the photo five times, CrackNet four times."""
    return tuple(math.ceil(side / 32) * 32 for side in image.shape[:2])


def pad(image, height, width):
    """(C, h, w) -> (C, height, width), zeros to the right and below."""
    return np.pad(image, ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])))


def tiles(length):
    """Slices of at most TILE that cover `length`, each with its weights (n,), which add up to 1 everywhere.

    In an overlap the weight is 0 for a quarter, because near its border a tile shows the network too little context,
    then rises like a cosine to 1 and stays there for a quarter, while that of the tile before falls to 0:

        tile before  1 ────╮          this tile         ╭──── 1
                           ╰──── 0               0 ────╯
                      ¼  ½  ¼  of OVERLAP        ¼  ½  ¼
    """
    starts = range(0, max(1, length - OVERLAP), TILE - OVERLAP)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(OVERLAP) + 0.5) / OVERLAP * 2 - 0.5, 0, 1))
    for start in starts:
        weight = np.ones(min(TILE, length - start), np.float32)
        if start > 0:
            weight[:OVERLAP] = rise
        if start + TILE < length:
            weight[-OVERLAP:] = rise[::-1]
        yield slice(start, start + len(weight)), weight
