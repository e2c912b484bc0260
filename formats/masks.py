"""A folder of masks, made by any program: which file belongs to which photo."""

import atexit
import tempfile
from pathlib import Path

from command import BadInput, number_of, some
from formats.archive import unpacked
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
        self.files = {path.name.lower(): path for path in pictures_in(folder)}
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
        """The file of a photo's mask. Raises MissingMask; BadInput if it is the mask of another photo as well.

        item: anything with the photo's `name`, a Photo of an export or its path.
        """
        name = Path(item.name)
        starts = [name.stem + end for end in ENDS] + [name.name]  # the last as in IMG_1.jpg.png
        for start in starts:
            for suffix in (".png", *sorted(SUFFIXES)):
                path = self.files.get(f"{start}{suffix}".lower())
                if path:
                    self.claim(path, item.name)
                    return path
        raise MissingMask(
            f"{self.called}: no {name.stem}.png or {name.stem}_mask.png; each photo needs a mask. {self.content()}"
        )

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
        networks = [path for path in sorted(self.folder.rglob("*")) if path.suffix.lower() in CHECKPOINTS]
        found = [path.relative_to(self.folder).as_posix() for path in dict.fromkeys([*networks, *folders])]
        if not found:
            return "The folder holds no picture"
        return f"The folder itself holds no picture, but there are some, or a checkpoint, in {some(found, 3)}"

    def note(self):
        """A sentence, if some photos have both NAME.png and NAME_mask.png; else ""."""
        stems = {Path(name).stem for name in self.files}
        both = sum(f"{stem}_mask" in stems for stem in stems)
        if not both:
            return ""
        return f"NAME_mask.png is used, not NAME.png, for {number_of(both, 'photo')} with both"


def located(path):
    """Where the masks lie: a .zip is unpacked into a temporary folder, which goes when the program ends, and a folder
    that holds nothing but one folder is replaced by that one. A file stays as it is. Raises BadInput."""
    if path.suffix.lower() == ".zip" and path.is_file():
        temporary = tempfile.TemporaryDirectory()
        atexit.register(temporary.cleanup)
        path = unpacked(path, keep=(), into=Path(temporary.name) / path.stem)
    held = [path]
    while len(held) == 1 and held[0].is_dir():
        path = held[0]
        held = visible(path)
    return path
