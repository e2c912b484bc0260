"""A COCO export becomes (photo, mask) pairs: reading, split, data set; run it to audit an export."""

import contextlib
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from pycocotools.coco import COCO
from torch.utils.data import DataLoader, Dataset, Sampler

from audit import audit
from command import BadInput, execute, flags
from photo import SUFFIXES, ceil32, pad, read_photo, write_image
from split import PARTS

SAMPLE = Path(__file__).parent / "data" / "sample"
MISSPELT = {"crank", "cranks", "crak", "craks", "crac", "cracs", "crck", "carck", "cracck"}
UNDAMAGED = re.compile(r"\b(un|no|non|not|without)\b|uncrack|undamaged|normal|intact|background|healthy")


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo of an export with the annotations of the crack class."""

    name: str  # path inside the export, with /
    path: Path
    height: int
    width: int
    annotations: tuple = ()
    part: str | None = None  # train, valid or test where the export comes split
    coco: COCO | None = field(default=None, repr=False, compare=False)

    @property
    def cracked(self):
        return bool(self.annotations)

    def sha1(self):
        return hashlib.sha1(self.path.read_bytes()).hexdigest()

    def mask(self):
        """(H, W) uint8 ground truth, 1 where any crack annotation lies."""
        mask = np.zeros((self.height, self.width), np.uint8)
        for annotation in self.annotations:
            mask |= self.coco.annToMask(annotation)
        return mask

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
    """A COCO export as read: its photos, how each category was taken, and what looks wrong."""

    root: Path
    photos: list
    categories: dict  # name -> "crack", "not crack" or "unused"
    problems: list


def read_export(data, classes=None):
    """Folder with one COCO file, or with Roboflow's train/ valid/ test/ -> Export. Raises BadInput."""
    root = Path(data)
    if not root.is_dir():
        raise BadInput(f"{root}: no such folder; give the folder of a COCO export")
    parts = [(p, root / p) for p in PARTS if (root / p).is_dir() and any((root / p).glob("*.json"))]
    files = [(part, annotation_file(folder)) for part, folder in parts or [(None, root)]]
    export = Export(root, [], {}, [])
    loaded = [(part, file, load_coco(file)) for part, file in files]
    crack_names = choose_classes([coco for *_, coco in loaded], classes, export, files[0][1])
    for part, file, coco in loaded:
        add_photos(export, part, file, coco, crack_names)
    if not export.photos:
        raise BadInput(f"{root}: none of the listed photos is there; put the photos beside the JSON file")
    return export


def annotation_file(folder):
    """Roboflow's `_annotations.coco.json`, or the only COCO file of the folder."""
    roboflow = folder / "_annotations.coco.json"
    if roboflow.is_file():
        return roboflow
    found = [file for file in sorted(folder.glob("*.json")) if is_coco(file)]
    if len(found) != 1:
        what = "no COCO file" if not found else "several COCO files: " + ", ".join(f.name for f in found)
        raise BadInput(f"{folder}: {what}; export as COCO Segmentation, one _annotations.coco.json beside the photos")
    return found[0]


def is_coco(file):
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def load_coco(file):
    """The file through pycocotools, which expects what `is_coco` checks."""
    if not is_coco(file):
        raise BadInput(f"{file}: not a COCO file; it needs images, annotations and categories (COCO Segmentation)")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its timing
        try:
            return COCO(str(file))
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{file}: broken COCO file ({error!r}); export it again") from None


def says_crack(name):
    """True for a spelling of crack, False for a name that says undamaged, None for anything else."""
    name = re.sub(r"[\s_-]+", " ", name).strip().lower()
    if UNDAMAGED.search(name):
        return False
    return True if "crack" in name or name in MISSPELT else None


def choose_classes(cocos, classes, export, file):
    """The set of category names that mean crack; fills `export.categories`. Names decide, ids never do."""
    names = {c["id"]: c["name"] for coco in cocos for c in coco.cats.values()}
    names = sorted({str(c["name"]) for coco in cocos for c in coco.cats.values()})
    used = {str(coco.cats[a["category_id"]]["name"]) for coco in cocos for a in coco.anns.values()}
    wanted = {name.strip().lower() for name in classes} if classes else None
    if wanted and (unknown := wanted - {name.strip().lower() for name in names}):
        raise BadInput(f"{file}: no class {', '.join(sorted(unknown))}; the export has: {', '.join(names)}")
    reads = {name: name.strip().lower() in wanted if wanted else says_crack(name) for name in names}
    if unclear := [name for name in names if reads[name] is None and name in used]:
        raise BadInput(
            f"{file}: cannot tell whether {', '.join(map(repr, unclear))} means crack; classes found: "
            f"{', '.join(map(repr, names))}; name the crack classes with --classes NAME ..."
        )
    if not any(reads.values()):
        raise BadInput(f"{file}: no crack class among {', '.join(map(repr, names))}; use --classes NAME ...")
    for name in names:
        export.categories[name] = "unused" if name not in used else "crack" if reads[name] else "not crack"
    return {name for name in names if reads[name]}


def add_photos(export, part, file, coco, crack_names):
    """Append the photos of one COCO file whose image is there; what is dropped goes to `export.problems`."""
    prefix = f"{part}/" if part else ""
    seen = Counter(str(image["file_name"]) for image in coco.imgs.values())
    for image in coco.imgs.values():
        name = str(image["file_name"])
        if seen[name] > 1:
            raise BadInput(f"{file}: {name} is listed {seen[name]} times; merge its entries")
        inside = PurePosixPath(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts:
            raise BadInput(f"{file}: {name} points outside the export; photos stand beside the JSON file")
        if not (path := file.parent / name).is_file():
            export.problems.append(f"{prefix}{name}: listed, but the file is missing; left out")
            continue
        photo = Photo(prefix + name, path, int(image["height"]), int(image["width"]), (), part, coco)
        cracks = []
        for annotation in coco.imgToAnns[image["id"]]:
            if str(coco.cats[annotation["category_id"]]["name"]) in crack_names:
                kept, problems = usable(annotation, photo)
                cracks += kept
                export.problems += [f"{photo.name}: {problem}" for problem in problems]
        export.photos.append(replace(photo, annotations=tuple(cracks)))
    unlisted = sorted(f.name for f in file.parent.iterdir() if f.suffix.lower() in SUFFIXES and f.name not in seen)
    export.problems += [f"{prefix}{name}: not listed in {file.name}; left out" for name in unlisted]


def usable(annotation, photo):
    """([annotation] or [], problems): polygons that pycocotools cannot draw or that lie outside are dropped."""
    shape = annotation["segmentation"]
    if isinstance(shape, dict):
        fits = list(shape.get("size", [])) == [photo.height, photo.width] and bool(shape.get("counts"))
        return ([annotation], []) if fits else ([], [f"RLE of size {shape.get('size')}, not of the photo; dropped"])
    kept, problems = [], []
    for polygon in shape:
        points = np.asarray(polygon, float)
        x, y = points[0::2], points[1::2]
        if len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            problems.append(f"polygon of {len(points)} numbers is no area; dropped")
        elif x.max() <= 0 or y.max() <= 0 or x.min() >= photo.width or y.min() >= photo.height:
            problems.append("polygon outside the photo; dropped")
        else:
            kept.append(polygon)
    return ([{**annotation, "segmentation": kept}] if kept else []), problems


# ---------------------------------------------------------------------------------------------- data set


class CrackDataset(Dataset):
    """(input (3, h, w) float32, mask (1, h, w) uint8, index of the photo) for each photo and each augmented version.

    Item k of epoch e is addressed as e * len(self) + k: what is drawn depends on the seed, e and k alone, never on
    the worker. Version 0 of a photo is the photo itself.
    """

    def __init__(self, photos, preprocess, augment=None, versions=0, seed=0):
        self.photos, self.preprocess, self.augment, self.seed = photos, preprocess, augment, seed
        self.versions = 1 + versions if augment else 1

    def __len__(self):
        return len(self.photos) * self.versions

    def __getitem__(self, key):
        epoch, k = divmod(key, len(self))
        index, version = divmod(k, self.versions)
        photo, mask = resized(self.photos[index], self.preprocess)
        if version:
            photo, mask = self.augment(photo, mask, np.random.default_rng([self.seed, epoch, k]))
        height, width = ceil32(mask)
        return self.preprocess.normalise(photo), pad(torch.from_numpy(mask)[None], height, width), index


@lru_cache(maxsize=128)  # a course set is decoded once, a big one stays on disk: 0.8 MB a photo at 512
def resized(photo, preprocess):
    return preprocess.resize(*photo.read())


def collate(items):
    """Items of different size -> one batch, padded to the largest height and width."""
    height, width = (max(item[0].shape[axis] for item in items) for axis in (1, 2))
    inputs, masks, indices = zip(*items, strict=True)
    stack = [torch.stack([pad(tensor, height, width) for tensor in tensors]) for tensors in (inputs, masks)]
    return *stack, torch.tensor(indices)


class Shuffled(Sampler):
    """The keys of one epoch in an order that depends on seed and epoch alone; set `epoch` before each pass."""

    def __init__(self, count, seed):
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self):
        return self.count

    def __iter__(self):
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        return iter((self.epoch * self.count + order).tolist())


def loader(data, batch_size, workers, sampler=None):
    """DataLoader that keeps its workers between epochs and pins memory where a GPU will fetch it."""
    return DataLoader(
        data,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def find_export(data=None, classes=None):
    """`read_export`, after drawing the sample set where that is wanted and missing."""
    data = Path(data or SAMPLE)
    if not data.exists() and data.resolve() == SAMPLE.resolve():
        from data import synthesize  # only this once

        print(f"{data} is missing: drawing the sample set first, a few seconds", flush=True)
        synthesize.draw_export(data)
    return read_export(data, classes)


def open_data(data=None, classes=None):
    """`find_export` for training and scoring: says in a few lines what was left out."""
    export = find_export(data, classes)
    for problem in export.problems[:5]:
        print("note:", problem)
    if len(export.problems) > 5:
        print(f"note: {len(export.problems) - 5} more; python dataset.py {export.root} lists them all")
    return export


def main(argv=None):
    parser = flags(
        "What is in this COCO export? Prints an audit and saves a picture of processed photos with their masks.",
        "python dataset.py",
        "python dataset.py my-export --classes Riss",
    )
    parser.add_argument("data", nargs="?", help="folder of a COCO export (default: data/sample, drawn on first use)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="category names that mean crack, where unclear")
    parser.add_argument("--out", type=Path, help="file for the picture (default: audit-DATA.png)")
    args = parser.parse_args(argv)
    export = find_export(args.data, args.classes)
    report, sheet = audit(export, args.seed)
    out = args.out or Path(f"audit-{export.root.resolve().name}.png")
    write_image(out, sheet)
    print(report, f"picture: {out}", sep="\n")
    return 0


if __name__ == "__main__":
    execute(main)
