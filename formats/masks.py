"""A folder of masks, made by any program: which file belongs to which photo."""

import atexit
import tempfile
from pathlib import Path

from command import BadInput, number_of, some
from formats.archive import unpacked
from formats.names import plain
from formats.photo import SUFFIXES, pictures_in, read_mask, visible

CHECKPOINTS = (".pt", ".pth")
ENDS = ("_mask", "", "-mask", "_gt", "_label", "_seg")  # of the name of a mask, after that of its photo


class MissingMask(BadInput):
    """A photo has no mask."""


class MaskFolder:
    """The masks in a folder: for photo NAME a NAME with one of ENDS, and with the suffix of any picture.

    called: the path in messages, if that is not the folder, such as the .zip that it was unpacked from.
    """

    def __init__(self, folder, called=None):
        self.folder = folder
        self.called = called or folder
        self.files = {self.key(path.name): path for path in pictures_in(folder)}
        self.used = {}  # {file of a mask: name of its photo}

    def __call__(self, item, photo):
        """A Photo of the export, its (H, W, 3) pixels -> ((H, W) uint8 0/1, None): there is no probability.

        Raises MissingMask, or BadInput for a mask that cannot be read or is of another size.
        """
        path = self.find(item)
        shown = f"{self.called}/{path.name}"
        try:
            mask = read_mask(path)
        except BadInput as error:
            raise BadInput(str(error).replace(str(path), shown)) from None
        if mask.shape != photo.shape[:2]:
            sizes = [f"{width}×{height}" for height, width in (mask.shape, photo.shape[:2])]
            raise BadInput(f"{shown}: mask of {sizes[0]} for a photo of {sizes[1]}; save it at the photo's size")
        return mask, None

    def find(self, item):
        """The file of a photo's mask. Raises MissingMask; BadInput if it is the mask of another photo as well."""
        found = self.candidates(item.name)
        if not found:
            stem = Path(item.name).stem
            raise MissingMask(
                f"{self.called}: no {stem}.png or {stem}_mask.png; each photo needs a mask. {self.content()}"
            )
        self.claim(found[0], item.name)
        return found[0]

    def candidates(self, name):
        """Every file that may be the mask of the photo of this name, the likeliest first."""
        stem, photo = Path(name).stem, Path(name).name
        starts = [stem + end for end in ENDS] + [photo]  # the last as in IMG_1.jpg.png
        keys = [self.key(start + suffix) for start in starts for suffix in (".png", *sorted(SUFFIXES - {".png"}))]
        return [self.files[key] for key in keys if key in self.files]

    @staticmethod
    def key(name):
        """The name of a file as it is looked up: small letters, accents stored in one way (a Mac has another)."""
        return plain(name).lower()

    def claim(self, path, photo):
        """Note whose mask a file is. Raises BadInput if two photos of the same name would share it."""
        owner = self.used.setdefault(path, photo)
        if owner != photo:
            raise BadInput(
                f"{self.called}/{path.name}: is the mask of {owner} and of {photo}; rename one of the photos, and give "
                "each a mask of its own"
            )

    def content(self):
        """What the folder holds, in a sentence, to help find a missing mask."""
        if self.files:
            first = next(iter(self.files.values())).name
            return f"The folder holds {number_of(len(self.files), 'picture')}, such as {first}"
        folders = [path.parent for path in sorted(self.folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
        files = [path for path in sorted(self.folder.rglob("*")) if path.suffix.lower() in (*CHECKPOINTS, ".zip")]
        found = [path.relative_to(self.folder).as_posix() for path in dict.fromkeys([*files, *folders])]
        if not found:
            return "The folder holds no picture"
        return f"The folder itself holds no picture, but there may be some, or a network, in {some(found, 3)}"

    def note(self):
        """A sentence, if some photos have both NAME.png and NAME_mask.png; else ""."""
        stems = {Path(name).stem for name in self.files}
        both = sum(f"{stem}_mask" in stems for stem in stems)
        if not both:
            return ""
        return f"NAME_mask.png is used, not NAME.png, for {number_of(both, 'photo')} with both"


def located(path):
    """Where the masks lie: a folder that holds nothing but one folder or .zip is replaced by that, and a .zip is
    unpacked into a temporary folder, which goes when the program ends. Another file stays as it is. Raises BadInput."""
    path = innermost(path)
    held = visible(path) if path.is_dir() else []
    if len(held) == 1 and is_zip(held[0]):  # as course platforms deliver what a student uploads
        path = held[0]
    if is_zip(path):
        temporary = tempfile.TemporaryDirectory()
        atexit.register(temporary.cleanup)
        path = innermost(unpacked(path, keep=(), into=Path(temporary.name) / path.stem))
    return path


def innermost(path):
    """A folder that holds nothing but one folder -> that one, and so on; anything else as it is."""
    held = [path]
    while len(held) == 1 and held[0].is_dir():
        path = held[0]
        held = visible(path)
    return path


def is_zip(path):
    """Is this a file that is called .zip?"""
    return path.suffix.lower() == ".zip" and path.is_file()
