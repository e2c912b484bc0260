"""Every photo and video of one command: examined, measured, its results written; what was done before is kept."""

import errno
import hashlib
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
from tqdm import tqdm

import distributed
from command import BadInput, number_of
from formats.photo import HEIC, REMEDIES, SUFFIXES, is_mask, read_photo, write_image
from formats.video import SUFFIXES as VIDEOS
from formats.video import read_frames, timing, written_video
from quantify.columns import MILLIMETRES, PIXELS
from quantify.damage import damage, film_sentence, sentence
from quantify.exif import exif
from quantify.measure import measure
from quantify.scale import ScaleOptions, find_scale, rectify
from report.figure import figure, overlay, save_figure
from report.survey import read_record, record_file, save_record

NO_PHOTOS = (".json", ".csv", ".txt", ".html")  # what lies beside photos: my-photos/* names them too
FEW = 20  # photos of which each gets a figure: it takes longer than all the rest
RECORD = 4  # raised when a number is computed in another way: older records are then made again
COLUMNS = hashlib.sha1(str(PIXELS | MILLIMETRES).encode()).hexdigest()  # and when a column or what it says changes
# of one photo; the others go on
FAULTS = (BadInput, OSError, MemoryError, RuntimeError, ValueError, ArithmeticError, cv2.error)
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # of the folder of results: the others fail too


@dataclass(frozen=True)
class Job:
    """What is done with every photo of this command."""

    answer: object  # function: photo -> (crack probability, mask without specks, number of specks)
    scale: ScaleOptions
    width_edges_mm: tuple
    made_with: dict  # plain values on which the results depend

    def examine(self, photo, path):
        """Photo -> (mask of its size, result of `damage`, views): views are photo, probability, mask, what measure
        gave. With a homography they are the road from above."""
        scale = find_scale(photo, path, self.scale)  # first: a missing sheet is found out at once
        probability, mask, specks = self.answer(photo)
        views, valid_px = (photo, probability, mask), mask.size
        if scale and scale.homography is not None:
            flat = [rectify(image, scale) for image in views]
            views, valid_px = tuple(image for image, *_ in flat), int(flat[0][1].sum())
        measured = measure(views[2])
        return mask, damage(measured, valid_px, scale, self.width_edges_mm, specks), (*views, measured)

    def about(self, path):
        """What a record of this file must say to be still true."""
        return self.made_with | {
            "record": RECORD,
            "columns": COLUMNS,
            "bytes": path.stat().st_size,
            "changed": path.stat().st_mtime,
        }


def first_columns(path, start, photo, second=None):
    """The columns of a row that do not come from the crack; where files share a stem, `photo` names the folder, too."""
    name = path.name if start.name == path.stem else start.name
    latitude, longitude = exif(path)["gps"] or (None, None)
    size = {"photo_width": photo.shape[1], "photo_height": photo.shape[0]}
    return {"photo": name, "second": second, "copy_of": None} | size | {"latitude": latitude, "longitude": longitude}


def photos_in(folder):
    """The photos directly in a folder, without what inference.py wrote there; says what else is left out."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    ours = {path.name.removesuffix("_cracks.json") for path in files if path.name.endswith("_cracks.json")}
    ours = {name + end for name in ours for end in ("_mask.png", "_overlay.jpg", "_figure.png")}
    photos = [path for path in files if path.suffix.lower() in SUFFIXES and path.name not in ours]
    others = set(files) - set(photos)
    kinds = Counter(path.suffix or "no suffix" for path in others if not path.is_dir())
    if others:
        deeper = [number_of(len(others) - kinds.total(), "folder")] if len(others) > kinds.total() else []
        words = ", ".join(deeper + [f"{count} × {kind}" for kind, count in sorted(kinds.items())])
        heic = f"; {HEIC}" if any(REMEDIES.get(kind.lower()) == HEIC for kind in kinds) else ""
        print(f"note: {folder}: left out {words}{heic}; a folder gives its {', '.join(sorted(SUFFIXES))}")
    return photos


def belongs(start, file):
    """Are the results there those of this file?"""
    return Path(read_record(start).get("file", "")).resolve() == file.resolve()


def list_photos(arguments, out):
    """Files and folders -> {file: the name its results begin with}; a folder gives all photos directly in it.

    That name is the stem, with folder and suffix where two files share it; a file that has results in the folder `out`
    keeps their name. Raises BadInput, also where results of another photo of that name lie there.
    """
    files = []
    for path in map(Path, arguments):
        if path.is_dir() and path.resolve() == out.resolve():
            raise BadInput(f"--out {out}: the photos lie there, and masks would pass for photos; give another folder")
        inside = photos_in(path) if path.is_dir() else [path]
        if not inside:
            deeper = ", ".join(sorted(str(f) for f in path.iterdir() if f.is_dir())[:3])
            instead = f"give its folders, {deeper}" if deeper else f"it takes {', '.join(sorted(SUFFIXES))}"
            raise BadInput(f"{path}: no photo in this folder; {instead}")
        if not path.exists():
            raise BadInput(f"{path}: no such photo, video or folder; check the name")
        files += inside
    if len(files) > 1 and (others := [file for file in files if file.suffix.lower() in NO_PHOTOS]):
        print(f"note: left out {', '.join(map(str, others[:3]))}{' ...' * (len(others) > 3)}: no photo")
        files = [file for file in files if file not in others]
    files = list(dict.fromkeys(files))
    stems = Counter(file.stem for file in files)
    names = {}
    for file in files:
        own = [file.stem, f"{file.resolve().parent.name}_{file.name}"]
        kept = [name for name in own if belongs(out / name, file)]
        names[file] = (kept or own[stems[file.stem] > 1 :])[0]
    if len(set(names.values())) < len(files):
        twice = Counter(names.values()).most_common(1)[0][0]
        raise BadInput(f"{twice}: two photos get this name, of folders of one name; rename a folder")
    for path, name in names.items():
        other = Path(read_record(out / name).get("file", path)).resolve()
        if other != path.resolve() and other.exists():  # a phone calls the first photo of every album the same
            lies = record_file(out / name)
            raise BadInput(f"{lies}: holds the results of {other}, not of {path}; give another --out")
    return names


def repeated(paths):
    """{path: the first of the paths whose file holds the very same bytes}, without those first ones."""
    first, found = {}, {}
    sizes = Counter(path.stat().st_size for path in paths)
    for path in paths:
        if sizes[path.stat().st_size] > 1:
            original = first.setdefault(hashlib.sha1(path.read_bytes()).hexdigest(), path)
            found |= {path: original} if original != path else {}
    return found


def segment_photo(job, photo, path, start, with_figure):
    """Write START_mask.png (0 and 255), _overlay.jpg, perhaps _figure.png, and last _cracks.json; returns that."""
    if is_mask(photo):
        raise BadInput(f"{path}: a mask, all of it black or white; give the photo itself")
    mask, result, (flat, probability, seen, measured) = job.examine(photo, path)
    result["row"] = row = first_columns(path, start, photo) | result["row"]
    write_image(start.with_name(f"{start.name}_mask.png"), 255 * mask)
    write_image(start.with_name(f"{start.name}_overlay.jpg"), overlay(flat, seen, measured, row))
    if with_figure:
        fig = figure(flat, probability, seen, measured, row)
        save_figure(start.with_name(f"{start.name}_figure.png"), fig)
    return save_record(start, path, job.about(path), [result])


def segment_video(job, path, start, every):
    """Write START_cracks.mp4, the frames with their cracks marked, and last START_cracks.json; returns that."""
    results, (step, fps) = [], timing(path, every)
    with written_video(start.with_name(f"{start.name}_cracks.mp4"), fps) as add:
        for number, frame in tqdm(read_frames(path, step), path.name, leave=False, unit="frame"):
            mask, result, (flat, *_, measured) = job.examine(frame, path)
            if flat is not frame:
                raise BadInput(f"{path}: a sheet or marker is for photos; give --mm-per-pixel or --reference")
            add(overlay(frame, mask, measured, result["row"]))
            results.append(result | {"row": first_columns(path, start, frame, number / step / fps) | result["row"]})
    return save_record(start, path, job.about(path), results)


def read_ahead(paths, photos=3):
    """Paths -> (path, function that gives its photo or raises BadInput): decoded in threads, few at a time."""
    with ThreadPoolExecutor(2) as pool:
        waiting = deque()
        for path in paths:
            waiting.append((path, pool.submit(read_photo, path).result if path.suffix.lower() not in VIDEOS else None))
            if len(waiting) > photos:
                yield waiting.popleft()
        yield from waiting


def files(start, path, figures):
    """What segment_photo or segment_video leaves at START, apart from the record."""
    ends = ["_cracks.mp4"] if path.suffix.lower() in VIDEOS else ["_mask.png", "_overlay.jpg"]
    ends += ["_figure.png"] if figures and path.suffix.lower() not in VIDEOS else []
    return [start.with_name(start.name + end) for end in ends]


def done_before(job, path, start, figures=False):
    """The record of a photo or video whose files are all there, made with the same flags; else None."""
    try:
        about = job.about(path)
    except OSError:  # gone, or a broken link: whoever reads it says so
        return None
    record = read_record(start) if all(file.is_file() for file in files(start, path, figures)) else {}
    return record if record.get("about") == about else None


def segment_one(job, path, photo, start, every, figures):
    """Do a photo (function that gives it) or video (None), write its results -> its record, or a str: what failed."""
    try:
        if photo is None:
            return segment_video(job, path, start, every)
        return segment_photo(job, photo(), path, start, figures)
    except FAULTS as error:
        if isinstance(error, OSError) and error.errno in HOPELESS:
            raise
        words = str(error) if isinstance(error, BadInput) else f"{path}: {type(error).__name__}, {error}; not done"
        return " ".join(words.split())


def missing(job, paths, names, out, figures):
    """Those of the paths whose results are not there yet; names: {path: the name its results begin with}."""
    return [path for path in paths if not done_before(job, path, out / names[path], figures)]


def segment_all(job, todo, names, out, every, figures):
    """Do these paths -> lines that say which failed."""
    failed, no_bar = [], len(todo) < 2 or distributed.rank() > 0
    for path, photo in tqdm(read_ahead(todo), total=len(todo), disable=no_bar or None, unit="photo"):
        record = segment_one(job, path, photo, out / names[path], every, figures)
        if isinstance(record, str):
            failed.append(record)
        elif len(names) <= FEW:
            rows = [result["row"] for result in record["results"]]
            tqdm.write(f"{path}: {sentence(rows[0]) if photo else film_sentence(rows)}")
    return failed
