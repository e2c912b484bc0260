"""A COCO export, as Roboflow, CVAT, Label Studio and others write it -> its photos with the annotations of cracks.

Everything in the JSON is checked here, once. What makes no sense is refused with the name of the entry; a shape that
cannot be drawn is dropped, and a Problem says so. Every annotation that is left can be rasterised.
"""

import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from command import BadInput, in_short, number_of, quoted, some
from formats.archive import unpacked
from formats.categories import read_categories, says_crack
from formats.exif import orientation_of
from formats.names import answers, plain, slashes
from formats.photo import SUFFIXES, photos_in, read_photo, visible
from formats.shapes import are_normalised, are_whole_numbers, check_entries, covered, drawn, usable

PART_NAMES = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
JSON_NAME = "_annotations.coco.json"  # as Roboflow calls it
LABELS_FOLDER = "annotations"  # where CVAT, datumaro and COCO itself keep their files,
INSTANCES = "instances_"  # called instances_PART.json
MOST = 100_000  # annotations in a file: about as many as are checked in 10 seconds
MOSTLY = 0.3  # share of a photo; no crack of CrackForest, SUT-Crack or DeepCrack covers more

# kinds of Problem
NOT_LABELS = "masks of inference.py, not labels; correct them in a labelling tool and export again"
NORMALISED = "its outlines are numbers from 0 to 1 and were read as shares of each photo's width and height"
WHOLE_NUMBERS = (
    "all its outlines are whole numbers; those of cv2.findContours are read half a pixel too narrow on each side; "
    "if you have the masks, use data/convert.py"
)
MISSING = "listed, but the file is missing; left out"
OUTSIDE = "listed, but it is a link to a file outside the export; left out"
UNLISTED = "not listed in the COCO file; left out"
SHAPELESS = "no crack of it has a usable outline; left out, draw it again"
OTHER_CLASSES = "labelled only with classes that --classes leaves out; counts as undamaged"
MOSTLY_CRACK = f"more than {MOSTLY:.0%} of the photo is crack (inverted mask?)"
TURNED = (
    "turned by EXIF, and the size does not tell whether the label was drawn on the turned photo; compare them in the "
    "picture of dataset.py"
)


@dataclass(frozen=True)
class Problem:
    """Something in an export that a person should look at."""

    kind: str  # what is wrong, the same words for every photo
    name: str  # the photo inside the export, or the COCO file
    detail: str = ""  # what is particular to this one

    def __str__(self):
        return f"{self.titled()}: {self.kind}"

    def titled(self):
        """The name, with the detail in brackets."""
        return f"{self.name} ({self.detail})" if self.detail else self.name


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo of an export with its annotations of cracks."""

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
        """Does it have a crack annotation?"""
        return bool(self.annotations)

    def shapes(self):
        """The polygons or RLE of its crack annotations, as in COCO."""
        return [annotation["segmentation"] for annotation in self.annotations]

    def sha1(self):
        """SHA-1 of the file, as hex."""
        return hashlib.sha1(self.path.read_bytes()).hexdigest()

    def mask(self):
        """(H, W) uint8 ground truth, 1 where any crack annotation lies."""
        return drawn(self.shapes(), self.height, self.width)

    def turned_without_trace(self):
        """Does EXIF turn this photo so that its size stays the same: by 180°, mirrored, or a square one by 90°?

        Labels drawn on the unturned pixels then lie in the wrong place, and no comparison of sizes tells.
        """
        way = orientation_of(self.path)
        return way in (2, 3, 4) or (way >= 5 and self.height == self.width)

    def crack_fraction(self):
        """Share of the photo that is crack, without drawing the mask."""
        return covered(self.shapes(), self.height, self.width) / (self.height * self.width)

    def read(self):
        """(H, W, 3) uint8 RGB and (H, W) uint8 mask. Raises BadInput where file and export disagree in size."""
        photo = read_photo(self.path)
        if photo.shape[:2] != (self.height, self.width):
            raise BadInput(self.disagreement(*photo.shape[:2]))
        return photo, self.mask()

    def disagreement(self, height, width):
        """What to say when the file, upright, has another size than its export says."""
        remedy = "use the photo that came with the export"
        if (width, height) == (self.height, self.width):
            remedy = "export again with Auto-Orient"
        return f"{self.path}: upright it is {width}×{height}, its export says {self.width}×{self.height}; {remedy}"


@dataclass
class Export:
    """A COCO export as read: its photos, the meaning of each category, and what a person should look at."""

    root: Path
    photos: list
    categories: dict  # name -> "crack", "not crack" or "unused" (no annotation has it)
    problems: list  # of Problem
    from_masks: bool = False  # made by this project from masks: an undamaged photo has an empty one


@dataclass
class Listing:
    """One COCO file of an export, its entries checked."""

    file: Path
    images: list
    categories: dict  # id -> name
    annotations: dict  # image id -> list
    uncorrected: bool
    from_masks: bool
    part: str | None
    top: Path  # its photos lie in this folder or below
    folders: list  # where a file name may begin
    prefix: str  # before the path of a photo below `top`, to name it inside the export
    paths: dict = field(default_factory=dict)  # file name -> path of the photo
    lost: dict = field(default_factory=dict)  # file name -> Problem, where there is no photo

    def shapes(self, wanted):
        """The segmentations of the annotations whose category ids are `wanted`."""
        every = (annotation for some_of in self.annotations.values() for annotation in some_of)
        return [annotation.get("segmentation") for annotation in every if annotation["category_id"] in wanted]

    def used(self):
        """The names of the categories that some annotation has."""
        ids = {annotation["category_id"] for some_of in self.annotations.values() for annotation in some_of}
        return {self.categories[number] for number in ids}


def each_once(problems):
    """[Problem] -> one line for each kind, with the first of the photos that have it."""
    kinds = {}
    for problem in problems:
        kinds.setdefault(problem.kind, Counter())[problem.titled()] += 1
    lines = []
    for kind, names in kinds.items():
        words = [name if times == 1 else f"{name} ({times} times)" for name, times in names.items()]
        lines.append(f"{kind}: {some(words)}")
    return lines


# ------------------------------------------------------------------------------------------ from folder to Export
def read_export(data, classes=None):
    """Folder or .zip of a COCO export -> Export. Raises BadInput.

    Read are one COCO file beside its photos, Roboflow's train/ valid/ test/, and annotations/instances_*.json beside
    images/. `classes` are the names of the categories that mean crack, None where their names tell.
    """
    root = Path(data)
    if root.is_file() and root.suffix.lower() == ".zip":
        root = unpacked(root, keep=PART_NAMES)
    if not root.is_dir():
        found = "is a file; give the folder or the .zip" if root.exists() else "no such folder or .zip; check the name"
        raise BadInput(f"{root}: {found}")
    listings = read_listings(root)
    names = {name for listing in listings for name in listing.categories.values()}
    used = {name for listing in listings for name in listing.used()}
    categories = read_categories(names, used, classes, listings[0].file)
    export = Export(root, [], categories, [], all(listing.from_masks for listing in listings))
    find_photos(listings)
    for listing in listings:
        add_listing(export, listing)
    export.problems += unlisted(root, listings)
    check_usable(export)
    return export


def check_usable(export):
    """Raises BadInput where no photo is left, or none of the cracks has an outline."""
    shapeless = [problem for problem in export.problems if problem.kind == SHAPELESS]
    if shapeless and not any(photo.cracked for photo in export.photos):
        reason, _ = Counter(problem.detail for problem in shapeless).most_common(1)[0]
        raise BadInput(
            f"{export.root}: {number_of(len(shapeless), 'photo')} with cracks, but no outline that can be used "
            f"({reason}); label with polygons and export again"
        )
    if not export.photos:
        why = export.problems[0] if export.problems else "it lists none"
        raise BadInput(f"{export.root}: no photo can be used ({why}); fix that and export again")


def refuse_masks(export):
    """Raises BadInput if the labels are uncorrected masks of inference.py."""
    for problem in export.problems:
        if problem.kind == NOT_LABELS:
            raise BadInput(problem)


def read_listings(root):
    """The COCO files of an export folder -> [Listing]. Raises BadInput, also where some of them would not be read."""
    beside = coco_files(root)
    parts = {folder: coco_files(folder) for folder in part_folders(root)}
    parts = {folder: files for folder, files in parts.items() if files}
    in_parts = [file for files in parts.values() for file in files]
    labels = coco_files(root / LABELS_FOLDER)
    places = [files for files in (beside, in_parts, labels) if files]
    if not places:
        raise BadInput(f"{root}: {what_is_lacking(root)}")
    if len(places) > 1:
        several = some(files[0].relative_to(root).as_posix() for files in places)
        raise BadInput(f"{root}: COCO files in several places, {several}; keep those that belong to the photos")
    if beside:
        listings = [beside_photos(only(beside))]
    elif parts:
        listings = [beside_photos(only(files), PART_NAMES[folder.name.lower()]) for folder, files in parts.items()]
    else:
        listings = listings_of(root, labels)
    check_parts(root, listings)
    return listings


def check_parts(root, listings):
    """Raises BadInput where two COCO files are of the same part, or only some of them are of any."""
    files_of = {}
    for listing in listings:
        files_of.setdefault(listing.part, []).append(listing.file.relative_to(root).as_posix())
    for part, files in files_of.items():
        if len(files) > 1:
            raise BadInput(f"{root}: {some(files)} all mean {part or 'the whole export'}; keep one")
    if None in files_of and len(files_of) > 1:
        raise BadInput(
            f"{root}: {files_of[None][0]} has no part in its name, the other COCO files have; add train, valid or test"
        )


def part_folders(folder):
    """The folders in a folder that are called like a part of an export: train, val, test ..."""
    if not folder.is_dir():
        return []
    return [inner for inner in visible(folder) if inner.is_dir() and inner.name.lower() in PART_NAMES]


def coco_files(folder):
    """The COCO files directly in a folder: JSON files that hold images, annotations and categories, and those whose
    name says so, which may be damaged."""
    if not folder.is_dir():
        return []
    roboflow = folder / JSON_NAME
    if roboflow.is_file():
        return [roboflow]
    files = [path for path in visible(folder) if path.suffix.lower() == ".json" and path.is_file()]
    return [file for file in files if file.stem.startswith(INSTANCES) or isinstance(read_json(file), dict)]


def only(files):
    """The one COCO file of a folder. Raises BadInput where there are several."""
    if len(files) > 1:
        names = some(file.name for file in files)
        raise BadInput(f"{files[0].parent}: several COCO files, {names}; keep that of the photos")
    return files[0]


def beside_photos(file, part=None):
    """A COCO file that lies beside its photos -> Listing. Raises BadInput."""
    prefix = f"{part}/" if part else ""
    return load_coco(file, part, file.parent, [file.parent], prefix)


def listings_of(root, files):
    """Files of annotations/, the photos of instances_PART.json in images/PART -> [Listing]. Raises BadInput."""
    instances = [file for file in files if file.stem.startswith(INSTANCES)]
    listings = []
    for file in instances or files:
        subset = file.stem.removeprefix(INSTANCES)
        part = PART_NAMES.get(subset.rstrip("0123456789").lower())  # COCO itself: instances_train2017.json
        folders = [root / "images" / subset, root / "images", root / subset, root, file.parent]
        listings.append(load_coco(file, part, root, folders))
    return listings


def what_is_lacking(folder):
    """What a folder without a COCO file needs, in words."""
    for file in sorted(folder.rglob("*.json")):
        known = file.name == JSON_NAME or file.name.startswith(INSTANCES)
        if known and isinstance(read_json(file), dict):
            inner = file.parent
            if inner.name.lower() in (*PART_NAMES, LABELS_FOLDER):
                inner = inner.parent
            return f"the export lies deeper in it; give {inner}"
    if any(file.suffix.lower() in SUFFIXES for file in folder.rglob("*")):
        return (
            "no COCO file; label and export as COCO Segmentation, or make one of photos and masks with data/convert.py"
        )
    archives = sorted(str(file) for file in folder.rglob("*") if file.suffix.lower() == ".zip")
    if archives:
        return f"no photo, but {some(archives, 3)}; give that"
    return "no photo; check the name"


# ----------------------------------------------------------------------------------------------- one COCO file
def read_json(file):
    """The content of a COCO file, or words on why it is none."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        return f"cannot be read as JSON ({in_short(error)})"
    keys = {"images", "annotations", "categories"}
    if not isinstance(content, dict) or not keys <= content.keys():
        return "not a COCO file; it needs images, annotations and categories"
    return content


def digest(annotations):
    """Written beside the annotations by formats/annotate.py, to tell later whether somebody has changed them."""
    return hashlib.sha1(json.dumps(annotations, sort_keys=True).encode()).hexdigest()


def noted(content, key):
    """Whether the content of a COCO file carries under `info` this digest of its annotations, as they are now."""
    info = content.get("info") if isinstance(content, dict) else None
    # computing the digest of a large export takes a second, so this is only done where one is written
    return isinstance(info, dict) and key in info and info[key] == digest(content.get("annotations"))


def uncorrected(content):
    """Whether this content of a COCO file is what `inference.py --coco` wrote, as it was written."""
    return noted(content, "uncorrected")


def untouched(content):
    """Whether this content of a COCO file is an export by this project, as it was written."""
    return noted(content, "digest")


def load_coco(file, part, top, folders, prefix=""):
    """COCO file, where its photos lie, see Listing -> Listing whose entries have been checked. Raises BadInput."""
    content = read_json(file)
    if isinstance(content, str):
        raise BadInput(f"{file}: {content}; export again as COCO Segmentation")
    if isinstance(content["annotations"], list) and len(content["annotations"]) > MOST:
        raise BadInput(f"{file}: {len(content['annotations']):,} annotations, more than {MOST:,}; split the export")
    ours, masks = untouched(content), uncorrected(content)  # now: checking makes numbers of what is written as text
    try:
        check_entries(content)
    except ValueError as error:
        raise BadInput(f"{file}: {error}; export again as COCO Segmentation") from None
    annotations = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    categories = {category["id"]: category["name"] for category in content["categories"]}
    from_masks = ours and content["info"].get("from_masks") is True
    return Listing(file, content["images"], categories, annotations, masks, from_masks, part, top, folders, prefix)


# ------------------------------------------------------------------------------------------ the photos of a file
def add_listing(export, listing):
    """Append the photos of one COCO file; what a person should look at goes to `export.problems`."""
    cracks = {number for number, name in listing.categories.items() if export.categories[name] == "crack"}
    shapes = listing.shapes(cracks)
    normalised = are_normalised(shapes)
    notes = {
        NOT_LABELS: listing.uncorrected,
        NORMALISED: normalised,
        WHOLE_NUMBERS: not normalised and are_whole_numbers(shapes),
    }
    export.problems += [Problem(kind, str(listing.file)) for kind in notes if notes[kind]]
    for image in listing.images:
        problem = listing.lost.get(image["file_name"])
        if problem:
            export.problems.append(problem)
            continue
        path = listing.paths[image["file_name"]]
        photo = Photo(name_of(image["file_name"], path, listing), path, image["height"], image["width"])
        photo = replace(photo, part=listing.part)
        add_photo(export, photo, listing.annotations[image["id"]], listing.categories, normalised)


def add_photo(export, photo, annotations, categories, normalised):
    """Append one photo with its cracks, unless none of its cracks can be drawn: it would pass for undamaged."""
    cracks, reasons = [], []
    for annotation in annotations:
        if export.categories[categories[annotation["category_id"]]] != "crack":
            continue
        shape, problems = usable(annotation.get("segmentation"), photo, normalised)
        reasons += problems
        if shape:
            cracks.append({**annotation, "segmentation": shape})
    export.problems += [Problem(f"{reason}; dropped", photo.name) for reason in reasons]
    if reasons and not cracks:
        export.problems.append(Problem(SHAPELESS, photo.name, reasons[0]))
        return
    photo = replace(photo, annotations=tuple(cracks))
    labels = sorted({categories[annotation["category_id"]] for annotation in annotations})
    left_out = [repr(label) for label in labels if says_crack(label)]
    if left_out and not cracks:
        export.problems.append(Problem(OTHER_CLASSES, photo.name, ", ".join(left_out)))
    if photo.crack_fraction() > MOSTLY:
        export.problems.append(Problem(MOSTLY_CRACK, photo.name, f"{photo.crack_fraction():.0%}"))
    if cracks and photo.turned_without_trace():
        export.problems.append(Problem(TURNED, photo.name))
    export.photos.append(photo)


def name_of(listed, path, listing):
    """The name of a photo inside the export: as it is listed if that is its path, else its path."""
    short = PurePosixPath(slashes(listed))
    if listing.top / short != path:
        short = PurePosixPath(plain(path.relative_to(listing.top).as_posix()))
    return f"{listing.prefix}{short}"


def find_photos(listings):
    """Fill in `paths` and `lost` of the COCO files of an export. Raises BadInput."""
    absent = [find_by_path(listing) for listing in listings]
    taken = {path for listing in listings for path in listing.paths.values()}
    for listing, names in zip(listings, absent, strict=True):
        if not names:
            continue
        for name, (path, detail) in answers(names, listing.top, taken).items():
            if path:
                listing.paths[name] = path
            else:
                listing.lost[name] = Problem(MISSING, shown(name, listing), detail)
    first = {}  # path of a photo -> the COCO file that lists it
    for listing in listings:
        for path in listing.paths.values():
            other = first.setdefault(path, listing)
            if other is not listing:
                raise BadInput(f"{listing.file}: lists {path.name}, as {other.file.name} does; keep it in one of them")


def find_by_path(listing):
    """Fill in the photos that lie where a COCO file says -> sorted file names of the others. Raises BadInput."""
    absent = set()
    for image in listing.images:
        name = image["file_name"]
        if not name.isprintable():
            raise BadInput(
                f"{listing.file}: {quoted(name)} is no name that a file can have; rename the photo and export again"
            )
        if name in listing.paths or name in listing.lost or name in absent:
            raise listed_twice(name, listing)
        path = literal(name, listing)
        if path is None:
            absent.add(name)
        elif path.resolve().is_relative_to(listing.top.resolve()):
            listing.paths[name] = path
        else:
            listing.lost[name] = Problem(OUTSIDE, shown(name, listing))
    for path, times in Counter(listing.paths.values()).items():
        if times > 1:
            raise listed_twice(path.name, listing)
    return sorted(absent)


def listed_twice(name, listing):
    """BadInput for a photo for which it is unclear which entry holds its annotations."""
    return BadInput(f"{listing.file}: {quoted(name)} is listed twice; merge its entries")


def shown(name, listing):
    """A listed name for a message: what part it is in, and at most 80 letters."""
    part = f"{listing.part}/" if listing.part else ""
    return f"{part}{PurePosixPath(slashes(name))!s:.80}"


def literal(name, listing):
    """The file of exactly this name, with / or backslashes between folders, or None. It never lies outside."""
    for folder in listing.folders:
        for form in (name, slashes(name)):
            path = Path(os.path.normpath(folder / form))
            if path.is_relative_to(listing.top) and os.path.isfile(path):
                return path
    return None


def unlisted(root, listings):
    """[Problem] of the photos that no COCO file of the export lists, in the folders that are there for photos."""
    known = {path for listing in listings for path in listing.paths.values()}
    folders = {root, *part_folders(root), *part_folders(root / "images")}
    folders |= {path.parent for path in known} | {listing.file.parent for listing in listings}
    others = [path for folder in sorted(folders) for path in photos_in(folder) if path not in known]
    return [Problem(UNLISTED, path.relative_to(root).as_posix()) for path in others]
