"""A COCO export as Roboflow and others write it -> its photos with the annotations of the crack class.

Whatever stands in the JSON is checked once, here: what cannot be meant is refused with the entry's name, a shape that
cannot be drawn is dropped and said. Behind this file every annotation can be rasterised.
"""

import contextlib
import glob
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from pycocotools.coco import COCO

from command import BadInput, in_short
from formats.archive import unpacked
from formats.categories import read_categories, says_crack
from formats.entries import check_entries
from formats.photo import SUFFIXES, read_photo
from formats.shapes import drawn, usable

PART_NAMES = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
JSON_NAME = "_annotations.coco.json"  # as Roboflow calls it
NOT_LABELS = "masks of inference.py, not labels; correct them in a labelling tool and export again"
SHAPELESS = "no crack of it has a usable outline; left out, draw it again"
MOST = 100_000  # annotations of a file: about as many as are checked in 10 seconds


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo of an export with the annotations of the crack class."""

    name: str  # path inside the export, with /
    path: Path
    height: int
    width: int
    annotations: tuple = ()
    part: str | None = None  # train, valid or test where the export comes split

    @property
    def title(self):
        """The name without what Roboflow adds to it: IMG_7_jpg.rf.0a1b.jpg -> IMG_7.jpg."""
        return re.sub(r"_[a-z]{3,4}\.rf\.[0-9a-zA-Z]+(?=\.)", "", self.name)

    @property
    def cracked(self):
        return bool(self.annotations)

    def sha1(self):
        return hashlib.sha1(self.path.read_bytes()).hexdigest()

    def mask(self):
        """(H, W) uint8 ground truth, 1 where any crack annotation lies."""
        return drawn([annotation["segmentation"] for annotation in self.annotations], self.height, self.width)

    def read(self):
        """(H, W, 3) uint8 RGB and (H, W) uint8 mask. Raises BadInput where file and export disagree in size."""
        photo = read_photo(self.path)
        if photo.shape[:2] != (self.height, self.width):
            raise BadInput(self.disagreement(*photo.shape[:2]))
        return photo, self.mask()

    def disagreement(self, height, width):
        return (
            f"{self.path}: upright it is {width}×{height}, its export says {self.width}×{self.height}; "
            "export again with Auto-Orient"
        )


@dataclass
class Export:
    """A COCO export as read: its photos, how each category was taken, and what was left out."""

    root: Path
    photos: list
    categories: dict  # name -> "crack", "not crack" or "unused" (no annotation has it)
    problems: list


def each_once(lines):
    """The same lines, repeated ones once with how often."""
    return [line if times == 1 else f"{line} ({times} times)" for line, times in Counter(lines).items()]


def read_export(data, classes=None):
    """Folder with one COCO file, or with Roboflow's train/ valid/ test/, or a .zip of it -> Export. Raises BadInput."""
    root = Path(data)
    if root.is_file() and root.suffix.lower() == ".zip":
        root = unpacked(root, keep=PART_NAMES)
    if not root.is_dir():
        found = "is a file; give the folder or the .zip" if root.exists() else "no such folder or .zip; check the name"
        raise BadInput(f"{root}: {found}")
    loaded = [(part, file, load_coco(file)) for part, file in annotation_files(root)]
    categories = read_categories([coco for *_, coco in loaded], classes, loaded[0][1])
    export = Export(root, [], categories, [])
    for part, file, coco in loaded:
        add_photos(export, part, file, coco)
        if uncorrected(coco.dataset):
            export.problems.insert(0, f"{file}: {NOT_LABELS}")
    shapeless = [line for line in export.problems if line.endswith(SHAPELESS)]
    if shapeless and not any(photo.cracked for photo in export.photos):
        raise BadInput(
            f"{root}: {len(shapeless)} photos have cracks, but none an outline (boxes?); label with polygons"
        )
    if not export.photos:
        why = export.problems[0] if export.problems else "it lists none"
        raise BadInput(f"{root}: no photo of it can be used, {why}; mend that and export again")
    return export


def refuse_masks(export):
    """Raises BadInput where the labels are what the network answered and nobody has corrected."""
    if masks := [line for line in export.problems if line.endswith(NOT_LABELS)]:
        raise BadInput(masks[0])


def annotation_files(root):
    """[(part or None, COCO file)]: the folder's own, else those of its train, valid (or val) and test folders."""
    folders = [(PART_NAMES.get(f.name.lower()), f) for f in sorted(root.iterdir()) if f.is_dir()]
    parts = [(part, f) for part, f in folders if part and any(f.glob("*.json"))]
    if (root / JSON_NAME).is_file() or not parts:
        return [(None, annotation_file(root))]
    for part, times in Counter(part for part, _ in parts).items():
        if times > 1:
            raise BadInput(f"{root}: {', '.join(f.name for p, f in parts if p == part)} all mean {part}; keep one")
    return [(part, annotation_file(folder)) for part, folder in parts]


def annotation_file(folder):
    """Roboflow's JSON_NAME, or the only COCO file of the folder."""
    roboflow = folder / JSON_NAME
    if roboflow.is_file():
        return roboflow
    found = [file for file in sorted(folder.glob("*.json")) if isinstance(read_json(file), dict)]
    if len(found) > 1:
        raise BadInput(f"{folder}: several COCO files, {', '.join(f.name for f in found)}; keep that of the photos")
    if not found:
        if deeper := next((file.parent for file in folder.rglob(JSON_NAME)), None):
            deeper = deeper.parent if deeper.name.lower() in PART_NAMES else deeper
            raise BadInput(f"{folder}: the export lies deeper in it; give {deeper}")
        photos = any(file.suffix.lower() in SUFFIXES for file in folder.rglob("*"))
        lacks = "no COCO file; label and export as COCO Segmentation" if photos else "no photo; check the name"
        raise BadInput(f"{folder}: {lacks}")
    return found[0]


def read_json(file):
    """The content of a COCO file, or words on why it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        return f"cannot be read as JSON ({in_short(error)})"
    keys = {"images", "annotations", "categories"}
    if not isinstance(content, dict) or not keys <= content.keys():
        return "not a COCO file; it needs images, annotations and categories"
    return content


def digest(annotations):
    """What `inference.py --coco` writes beside its annotations, to tell later whether somebody has corrected them."""
    return hashlib.sha1(json.dumps(annotations, sort_keys=True).encode()).hexdigest()


def uncorrected(content):
    """Is this content of a COCO file what `inference.py --coco` wrote, as it was written?"""
    info = content.get("info") if isinstance(content, dict) else None
    # the digest of a large export takes a second, so only where one is written
    marked = isinstance(info, dict) and "uncorrected" in info
    return marked and info["uncorrected"] == digest(content.get("annotations"))


def load_coco(file):
    """File -> COCO whose entries have been checked. Raises BadInput."""
    content = read_json(file)
    if isinstance(content, str):
        raise BadInput(f"{file}: {content}; export again as COCO Segmentation")
    if isinstance(content["annotations"], list) and len(content["annotations"]) > MOST:
        raise BadInput(f"{file}: {len(content['annotations']):,} annotations, more than {MOST:,}; split the export")
    try:
        check_entries(content)
    except ValueError as error:
        raise BadInput(f"{file}: {error}; export again as COCO Segmentation") from None
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number  # nothing of ours refers to it, and pycocotools loses all but the last of an id
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco


def add_photos(export, part, file, coco):
    """Append the photos of one COCO file whose image is there; what is dropped goes to `export.problems`."""
    prefix, folder = f"{part}/" if part else "", file.parent.resolve()
    listed = set()
    for image in coco.imgs.values():
        name = str(PurePosixPath(image["file_name"].replace("\\", "/")))
        if not name.isprintable():
            raise BadInput(f"{file}: {name!r:.80} is no name that a file can have; rename the photo and export again")
        if name in listed:
            raise BadInput(f"{file}: {name!r} is listed twice; merge its entries")
        listed.add(name)
        path = file.parent / name
        if PureWindowsPath(name).is_absolute() or not path.resolve().is_relative_to(folder):
            raise BadInput(f"{file}: {name!r:.80} points outside the export; put the photo beside the JSON file")
        if len(name) > 250 or not path.is_file():
            alike = [f", but {other.name} is there" for other in path.parent.glob(f"{glob.escape(path.stem)}.*")][:1]
            export.problems.append(f"{prefix}{name:.80}: listed, but the file is missing{''.join(alike)}; left out")
            continue
        photo = Photo(prefix + name, path, image["height"], image["width"], (), part)
        cracks = []
        for annotation in coco.imgToAnns[image["id"]]:
            if export.categories[coco.cats[annotation["category_id"]]["name"]] == "crack":
                shape, problems = usable(annotation.get("segmentation"), photo)
                cracks += [{**annotation, "segmentation": shape}] if shape else []
                export.problems += [f"{photo.name}: {problem}; dropped" for problem in problems]
        outlined = [coco.cats[a["category_id"]]["name"] for a in coco.imgToAnns[image["id"]]]
        if not cracks and "crack" in map(export.categories.get, outlined):  # it would pass for undamaged
            export.problems.append(f"{photo.name}: {SHAPELESS}")
            continue
        if not cracks and (meant := [repr(name) for name in sorted(set(outlined)) if says_crack(name)]):
            export.problems.append(
                f"{photo.name}: labelled only as {', '.join(meant)}, which --classes leaves out; counts as undamaged"
            )
        export.photos.append(replace(photo, annotations=tuple(cracks)))
    unlisted = sorted(f.name for f in file.parent.iterdir() if f.suffix.lower() in SUFFIXES and f.name not in listed)
    export.problems += [f"{prefix}{name}: not listed in {file.name}; left out" for name in unlisted]
