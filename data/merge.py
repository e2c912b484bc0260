"""Merge the exports of several students into one COCO export, its photos named by student, duplicates removed.

    python data/merge.py anna ben.zip carla --out data/class
    python data/merge.py exports/* --out data/class --split-by-student

Every name that means crack becomes `crack`; all masks stay as they were drawn. `manifest.csv` says where each photo
came from. A photo that several students hand in is kept once: from the first student who labelled a crack on it, or
from the first student if nobody did.
"""

import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import PARTS, SEED, BadInput, Parser, execute, number_of, tally, write_csv
from data.split import SHARES, copies
from formats.annotate import MANIFEST, export_folder, mask_to_annotations, write_annotations
from formats.archive import unpacked
from formats.categories import says_crack
from formats.coco import PART_NAMES, Photo, each_once, read_export, read_listings, refuse_masks
from formats.photo import expand
from formats.shapes import box_and_area, drawn

DISAGREE = 0.5  # IoU of two students' masks of one photo below which somebody should look
DEALS = 2000  # random assignments of students to parts that are tried; the nearest to split.SHARES is taken


def arguments(argv):
    parser = Parser(prog="data/merge.py", description=__doc__)
    parser.add_argument("exports", nargs="+", help="a folder or .zip for each student, named like the student")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        help="folder to write the export to; an earlier result of this command is overwritten, unless its labels "
        "were changed",
    )
    parser.add_argument("--classes", nargs="+", default=(), metavar="NAME", help="further names that mean crack")
    parser.add_argument(
        "--split-by-student",
        action="store_true",
        help="write train/, valid/ and test/, near 70/15/15, with each student in one part only",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="random seed of that split (default: 0)")
    return parser.parse_args(argv)


# ------------------------------------------------------------------------------------------------ reading
def read_students(paths, classes):
    """Folders or .zip files -> {student: Export}. Raises BadInput."""
    roots = {}
    for path in map(Path, paths):
        root = unpacked(path, keep=PART_NAMES) if path.is_file() else path  # a .zip is unpacked beside itself
        student = re.sub(r"[^\w-]+", "-", root.resolve().name)
        # a .zip and the folder that was unpacked from it are one export
        if student in roots and roots[student].resolve() != root.resolve():
            raise BadInput(f"{path}: a second export called {student}; rename one, the name tells the student")
        roots.setdefault(student, root)
    wanted = {student: crack_names(root, classes) if classes else () for student, root in roots.items()}
    known = {name.strip().lower() for names in wanted.values() for name in names}
    missing = [name for name in classes if name.strip().lower() not in known]
    if missing:
        raise BadInput(f"--classes {missing[0]}: no export has annotations of that class; check the spelling")
    exports, wrong = {}, []
    for student, root in roots.items():
        try:
            exports[student] = read_export(root, wanted[student])
            refuse_masks(exports[student])
        except BadInput as error:
            wrong.append(str(error))
    if wrong:  # all students at once, so that a class need not be corrected one by one
        raise BadInput(" | ".join(wrong))
    return exports


def crack_names(root, classes):
    """The class names used in one export that mean crack: every spelling of it, and those of `classes`."""
    if not root.is_dir():
        return ()  # read_export says what is wrong
    used = {name for listing in read_listings(root) for name in listing.used()}
    wanted = {name.strip().lower() for name in classes}
    return [name for name in used if says_crack(name) or name.strip().lower() in wanted]


@dataclass
class Entry:
    """One photo of one student on its way into the merged export."""

    student: str
    before: Photo
    photo: Photo  # with its new name
    part: str = ""
    note: str = ""  # why it is left out; empty where it is not


def entries_of(exports):
    """{student: Export} -> [Entry], each under a new name that begins with the student."""
    taken, entries = set(), []
    for student, export in exports.items():
        for photo in export.photos:
            name = new_name(student, PurePosixPath(photo.name).name, taken)
            entries.append(Entry(student, photo, replace(photo, name=name)))
    return entries


def new_name(student, name, taken):
    """student_x.jpg, or student-2_x.jpg where that is taken, as train/x.jpg and test/x.jpg may be two photos.

    Everything is put in front, because the end of the name tells which photos are Roboflow's versions of one. Small
    and capital letters count as equal, as they do on some disks.
    """
    new = f"{student}_{name}"
    numbers = count(2)
    while new.lower() in taken:
        new = f"{student}-{next(numbers)}_{name}"
    taken.add(new.lower())
    return new


# ----------------------------------------------------------------------------------- copies, and who keeps them
def leave_out_copies(entries):
    """Note each photo that another student has, too; copies inside one export are left to that student."""
    entry_of = {entry.photo: entry for entry in entries}
    for group in copies(list(entry_of)):
        members = [entry_of[photo] for photo in group]
        keeper = max(members, key=lambda entry: entry.photo.cracked)  # the first of equals
        for entry in members:
            if entry.student != keeper.student:
                entry.note = f"copy of {keeper.photo.name}, {agreement(entry.photo, keeper.photo)}"


def agreement(photo, other):
    """How two students' labels of one photo agree, in words."""
    if not photo.cracked and not other.cracked:
        return "neither has a crack"
    if not photo.cracked or not other.cracked:
        return "labelled with a crack there only"
    size = (other.width, other.height)
    mask, truth = cv2.resize(photo.mask(), size, interpolation=cv2.INTER_NEAREST_EXACT), other.mask()
    iou = (mask & truth).sum() / (mask | truth).sum()
    words = f"IoU of the masks {iou:.2f}"
    return f"{words}, they DISAGREE: look at both" if iou < DISAGREE else words


# ------------------------------------------------------------------------------------------- split by student
def deal_students(entries, seed):
    """Set the part of each entry so that no student is in two parts.

    Many random assignments of students to parts are tried; the one nearest to SHARES is taken, for cracked photos and
    undamaged ones. Raises BadInput for fewer than three students.
    """
    counts = Counter((entry.student, entry.photo.cracked) for entry in entries)
    students = sorted({entry.student for entry in entries})
    if len(students) < len(PARTS):
        raise BadInput(
            f"--split-by-student: {len(students)} students cannot fill {len(PARTS)} parts"
            " (a student with only copies of others' photos does not count); leave it out"
        )
    photos = np.array([[counts[student, cracked] for cracked in (True, False)] for student in students])
    rng, shares = np.random.default_rng(seed), np.array([SHARES[part] for part in PARTS]) / 100
    deals = rng.choice(len(PARTS), (DEALS, len(students)), p=shares)  # (deal, student) -> number of the part
    for deal in deals:
        deal[rng.permutation(len(students))[: len(PARTS)]] = range(len(PARTS))  # no part is empty
    in_part = deals[:, None, :] == np.arange(len(PARTS))[:, None]  # (deal, part, student)
    got = in_part.astype(int) @ photos  # (deal, part, cracked or undamaged)
    wanted = np.outer(shares, photos.sum(axis=0))
    off = np.abs(got - wanted).sum(axis=(1, 2))
    part = dict(zip(students, deals[off.argmin()], strict=True))
    for entry in entries:
        entry.part = PARTS[part[entry.student]]


# ----------------------------------------------------------------------------------------------- writing
def row(photo):
    """Photo -> (name, height, width, annotations) for `write_annotations`: all are cracks, and the mask is the same.

    Polygons stay as they were drawn. Run lengths become polygons, because several tools cannot read them. `bbox` and
    `area` are computed from the pixels, because tools disagree on what they are.
    """
    annotations = []
    for crack in photo.annotations:
        noted = {key: value for key, value in crack.items() if key not in ("id", "image_id", "category_id")}
        if isinstance(crack["segmentation"], dict):
            mask = drawn([crack["segmentation"]], photo.height, photo.width)
            annotations += [{**noted, **piece} for piece in mask_to_annotations(mask)]
        else:
            box, area = box_and_area(crack["segmentation"], photo.height, photo.width)
            annotations.append({**noted, "category_id": 1, "bbox": box, "area": area})
    return photo.name, photo.height, photo.width, annotations


def write_manifest(path, entries):
    """manifest.csv: where each photo came from, those left out with the reason."""
    columns = ["file", "part", "student", "name in the student's export", "sha1", "cracks", "left out"]
    rows = []
    for entry in entries:
        photo, name = entry.photo, "" if entry.note else entry.photo.name
        cracks = len(photo.annotations)
        rows.append([name, entry.part, entry.student, entry.before.name, photo.sha1(), cracks, entry.note])
    write_csv(path, columns, rows)


def write_merged(out, entries):
    """Entries -> the export at `out`, written atomically."""
    kept = [entry for entry in entries if not entry.note]
    with export_folder(out) as folder:
        for part in sorted({entry.part for entry in kept}):
            (folder / part).mkdir(exist_ok=True)
            rows = [row(entry.photo) for entry in kept if entry.part == part]
            write_annotations(folder / part, rows, "data/merge.py", from_masks=False)
        for entry in tqdm(kept, "copying", leave=False, unit="photo"):
            shutil.copyfile(entry.photo.path, folder / entry.part / entry.photo.name)
        write_manifest(folder / MANIFEST, entries)


def merge(paths, out, classes=(), by_student=False, seed=0):
    """Exports of students -> one COCO export at `out`; returns ({student: Export}, [Entry])."""
    if Path(out).resolve() in [Path(path).resolve() for path in paths]:
        raise BadInput(f"--out {out}: is one of the exports, too; name a new folder")
    exports = read_students(paths, classes)
    entries = entries_of(exports)
    leave_out_copies(entries)
    if by_student:
        deal_students([entry for entry in entries if not entry.note], seed)
    write_merged(out, entries)
    return exports, entries


def summary(exports, entries):
    """Lines: what each student brought, what was left out, and who is in which part."""
    lines = []
    for student, export in exports.items():
        own = [entry for entry in entries if entry.student == student]
        cracked = sum(entry.photo.cracked for entry in own)
        classes = ", ".join(f"{name!r} counts as {how}" for name, how in export.categories.items() if how != "unused")
        lines.append(f"{student}: {cracked} cracked, {len(own) - cracked} undamaged photos ({classes or 'no class'})")
        lines += [f"  note: {note}" for note in each_once(export.problems)]
    lines += [f"left out: {entry.student}'s {entry.before.name}, {entry.note}" for entry in entries if entry.note]
    kept = [entry for entry in entries if not entry.note]
    for part in PARTS:
        members = [entry.student for entry in kept if entry.part == part]
        if members:
            lines.append(f"{part}: {number_of(len(members), 'photo')} of {', '.join(sorted(set(members)))}")
    return lines


def main(argv=None):
    args = arguments(argv)
    exports, entries = merge(expand(args.exports), args.out, args.classes, args.split_by_student, args.seed)
    kept = [entry.photo for entry in entries if not entry.note]
    cracked = sum(photo.cracked for photo in kept)
    print(*summary(exports, entries), sep="\n")
    print(f"{args.out}: {tally(len(kept), cracked)}")
    return 0


if __name__ == "__main__":
    execute(main)
