"""A photo on its way in and out: file -> RGB, RGB -> network input and back, image -> file."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import Normalize

from command import BadInput, written_whole

ORANGE = (230, 159, 0)  # a drawn crack: of Okabe and Ito's palette, safe for colour-blind readers
GREY = 0.25  # of a mask: more than blurred edges, so a photo or an overlay
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
MEGAPIXELS = 120  # more is refused: phones reach 50, some 108; a few kilobytes can claim thousands
HEIC = "convert HEIC photos to JPEG first"
REMEDIES = {".heic": HEIC, ".heif": HEIC, ".zip": "unpack it and give its folder"}  # by suffix, of what is no image
Image.MAX_IMAGE_PIXELS = None  # Pillow only reads headers here, and the limit is ours
warnings.filterwarnings("ignore", module="PIL")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with a photo is said here, once


def read_photo(path, flags=cv2.IMREAD_COLOR):
    """Any image file -> (H, W, 3) uint8 RGB, upright as EXIF says; grey, alpha and 16 bit become RGB of 8 bit.

    Raises BadInput for a file that is missing, is no image, is larger than MEGAPIXELS or ends too early. Damage in the
    middle of a JPEG passes: OpenCV fills it in.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the name") from None
    check_size(path, data)
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[len(data) // 2 :]:
        raise BadInput(f"{path}: JPEG ends too early; copy it again from the phone")  # OpenCV would fill in grey
    try:
        photo = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        photo = None
    if photo is None:
        raise no_image(path)
    return cv2.cvtColor(photo, cv2.COLOR_BGR2RGB) if photo.ndim == 3 else photo


def no_image(path):
    """BadInput with the remedy that fits the file's suffix."""
    remedy = REMEDIES.get(Path(path).suffix.lower(), "open it and save it as JPEG or PNG")
    return BadInput(f"{path}: not an image that can be read; {remedy}")


def check_size(path, data):
    """Raises BadInput for the bytes of a photo that is larger than MEGAPIXELS, or whose header is of no image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size  # as the header says: nothing is decoded
    except Exception:  # Pillow raises a dozen types for files that are cut or foreign
        raise no_image(path) from None
    if width * height > MEGAPIXELS * 10**6:
        raise BadInput(f"{path}: {width}×{height} are more than {MEGAPIXELS} megapixels; save it smaller first")


def is_mask(photo):
    """Whether it holds black and white and nothing between, as no photo does."""
    seen = photo[::16, ::16]  # tells for nearly all photos
    return all(((part == 0) | (part == 255)).all() for part in (seen, photo)) and photo.min() < photo.max()


def read_mask(path):
    """Mask image of any program -> (H, W) uint8 of 0 and 1, split at half of white. Raises BadInput.

    White is 255, unless the file's largest value is 1: the one place where values decide, for masks of 0/1 and of 0/255
    are both common and nothing else in the file tells them apart. JPEG blurs 0 to 1, so white is always 255 there.
    A file that is dark but not black is no mask: a crack in red, or drawn in another number. Nor is one that is grey
    all over: a photo, or the crack drawn onto it. Where some of it is transparent, the rest is the crack, if it
    has one colour.
    """
    grey = read_photo(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if grey.dtype not in (np.uint8, np.uint16):
        raise BadInput(f"{path}: holds {grey.dtype} values; save the crack as 255 on 0 in 8 bit")
    if grey.max() > 255:  # 16 bit; where it holds 0 and 1, or 0 and 255, that is what it means
        grey = grey / 257
    with Image.open(path) as image:  # OpenCV, which has just read it, says nothing of a palette's transparency
        opaque = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if opaque is not None and np.min(opaque) < 255:
        grey = by_transparency(grey, np.array(opaque))
    jpeg, white = Path(path).suffix.lower() in (".jpg", ".jpeg"), 255
    if grey.max() == 1 and not jpeg:
        white = 1
    elif (20 if jpeg else 0) < grey.max() < 128:
        coloured = np.ptp(read_photo(path), axis=2).max() > 60
        why = "the crack is in a colour" if coloured else f"its brightest value is {grey.max():.0f}"
        raise BadInput(f"{path}: not black and white, {why}; save the crack as 255 on 0")
    if white == 255 and (share := np.mean((grey > 40) & (grey < 215))) > GREY:
        raise BadInput(f"{path}: not black and white, {share:.0%} of it is grey; save the crack alone, as 255 on 0")
    return (grey > white / 2).astype(np.uint8)


def by_transparency(grey, opaque):
    """Colours (H, W) and how opaque they are, 0 to 255 -> (H, W) where the crack is white: what is opaque, unless that
    holds black and white, or is dark and most of the picture, which no crack is."""
    seen = grey[opaque > 127]
    dark = seen.size > opaque.size / 2 and seen.max() <= 127
    return np.where(opaque > 127, grey, 0) if dark or (seen.size and seen.min() <= 127 < seen.max()) else opaque


def picture_name(path):
    """The path, if OpenCV can write a picture of that name. Raises BadInput."""
    if not cv2.haveImageWriter(str(path)):
        raise BadInput(f"{path}: not the name of a picture; end it with .png or .jpg")
    return Path(path)


def write_image(path, image):
    """(H, W, 3) uint8 RGB or (H, W) uint8 -> an image file of the suffix's type, whole or not at all."""
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
        if not (isinstance(self.size, int) and self.size >= 32 and len(self.mean) == len(self.std) == 3):
            raise ValueError(f"a size of at least 32 pixels and three colours, got {self}")

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
        """(h, w, 3) uint8 at the input's size -> (3, h', w') float32, padded to multiples of 32."""
        tensor = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))).float() / 255
        return pad(Normalize(self.mean, self.std)(tensor), *ceil32(photo))

    def to_input(self, photo):
        """(H, W, 3) uint8 RGB -> (3, h', w') float32 network input."""
        return self.normalise(self.resize(photo))

    def to_photo(self, probability, height, width):
        """(h', w') float32 network output -> (height, width): pad removed, resized bilinearly."""
        h, w = self.shape(height, width)
        return cv2.resize(probability[:h, :w], (width, height), interpolation=cv2.INTER_LINEAR)


def ceil32(image):
    """Height and width rounded up to multiples of 32."""
    return tuple(-(-side // 32) * 32 for side in image.shape[:2])


def pad(tensor, height, width):
    """(C, h, w) -> (C, height, width), zeros to the right and below."""
    return torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]))
