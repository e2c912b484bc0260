"""Spoilt exports and photos by the thousand: python tests/fuzz.py --cases 2000

Every case spoils a little drawn export in one way, drawn from the seed and the case's number, and reads all of it. It
passes where each mask is the one that a second reading of the JSON, with other tools than the first, gives or what was
left out is said, and where BadInput is one line that names the file. Everything else is a failure, as are 10 seconds.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from conftest import write_export, write_json
from matplotlib.path import Path as Outline
from pycocotools import mask as coco_mask

from command import BadInput
from data.audit import audit
from data.split import copies
from formats.coco import read_export

HEIGHT, WIDTH = 60, 80
SECONDS = 10  # of computing, so that a busy machine does not matter
KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id", "segmentation", "id", "bbox", "area", "iscrowd"),
}
ODD = (None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", "x", "1", [], [[]], [None], {}, [{}])
FAR = (float("nan"), float("inf"), -float("inf"), 1e9, -1e9, 1e12, 1e300, 10**400, 5000, -5000, None, "7", True, [1])
NAMES = ("my photo 1.jpg", "straße 道路 ☃.jpg", "a;b$(x)&.jpg", "q%20x.jpg", "-dash.jpg", "UPPER.JPG", "a..b.jpg",
         "e\u0301.jpg", "sub/a.jpg", " lead.jpg", '"><img src=x onerror=alert(1)>.jpg', "x" * 200 + ".jpg")  # fmt: skip
OUTSIDE = ("../decoy.jpg", "..\\decoy.jpg", "sub/../../decoy.jpg", "{}/decoy.jpg", "C:\\decoy.jpg", "\\\\host\\d.jpg")


def pick(rng, values):
    return values[rng.integers(len(values))]


def entry(rng, content, kind=None):
    """A drawn entry of the JSON and its kind."""
    kind = kind or pick(rng, list(KEYS))
    return pick(rng, content[kind]), kind


def polygon(rng, content):
    """A drawn polygon that has not been spoilt yet."""
    shapes = [a["segmentation"] for a in content["annotations"] if isinstance(a["segmentation"], list)]
    return pick(rng, [shape[0] for shape in shapes if len(shape[0]) >= 6 and all(map(is_number, shape[0]))])


# ------------------------------------------------------------------------- what is spoilt in the JSON


def key_missing(rng, folder, content):
    if rng.random() < 0.1:
        del content[pick(rng, list(KEYS))]
    else:
        spoilt, kind = entry(rng, content)
        del spoilt[pick(rng, KEYS[kind])]


def wrong_type(rng, folder, content):
    if rng.random() < 0.1:
        content[pick(rng, list(KEYS))] = pick(rng, ODD)
    else:
        spoilt, kind = entry(rng, content)
        spoilt[pick(rng, KEYS[kind])] = pick(rng, ODD)


def unknown_id(rng, folder, content):
    entry(rng, content, "annotations")[0][pick(rng, ("image_id", "category_id"))] = int(rng.integers(-3, 50))


def id_twice(rng, folder, content):
    one, kind = entry(rng, content)
    other = entry(rng, content, kind)[0]
    one["id"] = other["id"]
    if rng.random() < 0.3:
        content[kind].append(dict(one))


def few_points(rng, folder, content):
    shape = polygon(rng, content)
    del shape[int(rng.integers(0, 6)) :]


def far_number(rng, folder, content):
    shape = polygon(rng, content)
    for _ in range(rng.integers(1, 4)):
        shape[rng.integers(len(shape))] = pick(rng, FAR)


def moved(rng, folder, content):
    shape = polygon(rng, content)
    shape[:] = (np.reshape(shape, (-1, 2)) + rng.uniform(-1.2, 1.2, 2) * (WIDTH, HEIGHT)).ravel().tolist()


def run_lengths(rng, folder, content):
    shape = next(a for a in content["annotations"] if isinstance(a["segmentation"], dict))["segmentation"]
    text, at = shape["counts"], rng.integers(len(shape["counts"]))
    counts = [text[:at], text + "a", text[:at] + pick(rng, "0a~! é") + text[at + 1 :], "o" * 500, text * 2, "", 5, None,
              [4800], [10, 4790], [0, 4800], [10, 4000], [10, -5, 4795], [10.0, 4790.0], [10, 10**12], [[1, 2]], [None],
              [True, 4799], [1] * 4800, text]  # fmt: skip
    sizes = [[HEIGHT, WIDTH]] * 3 + [[WIDTH, HEIGHT], [HEIGHT + 1, WIDTH], None, "ab", [60.5, 80], [10**6, 10**6], []]
    shape.update(counts=pick(rng, counts), size=pick(rng, sizes))


def file_missing(rng, folder, content):
    (folder / entry(rng, content, "images")[0]["file_name"]).unlink()


def size_lies(rng, folder, content):
    image = entry(rng, content, "images")[0]
    by = int(rng.integers(-8, 9))
    size = pick(rng, [(HEIGHT + by, WIDTH), (HEIGHT, WIDTH + by), (WIDTH, HEIGHT), (2 * HEIGHT, 2 * WIDTH), (1, 1)])
    image.update(height=size[0], width=size[1])


def any_name(rng, folder, content):
    image = entry(rng, content, "images")[0]
    name = pick(rng, NAMES)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / image["file_name"]).rename(folder / name)
    image["file_name"] = name


def name_outside(rng, folder, content):
    shutil.copy(folder / "road000.jpg", folder.parent / "decoy.jpg")
    content["images"][0]["file_name"] = pick(rng, OUTSIDE).format(folder.parent)


def name_of_nothing(rng, folder, content):
    names = "", " ", ".", "a\nb.jpg", "x\0.jpg", "\ud800.jpg", "é" * 999
    entry(rng, content, "images")[0]["file_name"] = pick(rng, names)


def ten_thousand(rng, folder, content):
    one = pick(rng, [a for a in content["annotations"] if isinstance(a["segmentation"], list)])
    count = 10_000 if rng.random() < 0.2 else 1000
    spoilt = one | {"segmentation": pick(rng, ([[1, 2]], one["segmentation"]))}
    content["annotations"] += [spoilt] * count


def bytes_of_json(rng, folder, content):
    data = json.dumps(content).encode()
    at, value = rng.integers(len(data)), bytes([rng.integers(256)])
    often = [data[:at], data[:at] + value + data[at + 1 :], data[:at] + data[at + 9 :]]
    whole = [b"\xef\xbb\xbf" + data, data.decode().encode("utf-16"), b"", b"[" * 100_000, data * 2, b"null"]
    return pick(rng, 5 * often + whole + [data.replace(b": 60", b": " + b"6" * 5000)])


def several(rng, folder, content):
    for change in rng.permutation(len(TOGETHER))[:2]:
        TOGETHER[change](rng, folder, content)


TOGETHER = (unknown_id, few_points, far_number, moved, size_lies, run_lengths)

# ------------------------------------------------------------------------ what is spoilt in the photos


def cut(rng, folder, content):
    path = folder / "road000.jpg"
    if (suffix := pick(rng, (".jpg", ".png", ".webp", ".tiff", ".bmp"))) != ".jpg":
        path.write_bytes(cv2.imencode(suffix, cv2.imread(str(path)))[1])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * rng.random())])


def no_photo(rng, folder, content):
    path = folder / "road000.jpg"
    contents = (b"", b"no photo", b"<html>404</html>" * 99, bytes(9999), b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n")
    if rng.random() < 0.2:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(pick(rng, contents))


def bytes_of_photo(rng, folder, content):
    data = bytearray((folder / "road000.jpg").read_bytes())
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        data[at] = rng.integers(256)
    (folder / "road000.jpg").write_bytes(data)


KINDS = {
    "a key is missing": key_missing, "a value of another type": wrong_type, "unknown ids": unknown_id,
    "an id twice": id_twice, "polygon of 0 to 2 points": few_points, "NaN, infinite, huge, no number": far_number,
    "polygon over the border or outside": moved, "run lengths: wrong size or counts": run_lengths,
    "photo missing": file_missing, "size that lies or is transposed": size_lies, "name of any letters": any_name,
    "name that points outside": name_outside, "name that no file has": name_of_nothing,
    "1,000 or 10,000 annotations": ten_thousand, "damaged JSON": bytes_of_json, "two of these at once": several,
    "photo cut short": cut, "not a photo": no_photo, "damaged photo": bytes_of_photo,
}  # fmt: skip

# ------------------------------------------------------------------------------------- what is right


@lru_cache(maxsize=1)
def good():
    """{name: bytes} of the photos and the JSON of the export that is spoilt; one crack is given as run lengths."""
    with tempfile.TemporaryDirectory() as folder:
        write_export(folder, cracked=3, undamaged=1, size=(HEIGHT, WIDTH))
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    content = json.loads(files.pop("_annotations.coco.json"))
    spot = np.zeros((HEIGHT, WIDTH), np.uint8)
    spot[20:50, 30:40] = 1
    runs = coco_mask.encode(np.asfortranarray(spot))["counts"].decode()
    content["annotations"][1]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": runs}
    content["annotations"].append(content["annotations"][0] | {"segmentation": [[50.0, 5.0, 75.0, 5.0, 75.0, 20.0]]})
    return files, content, runs, spot


def is_number(value):
    return type(value) in (int, float) and abs(value) < 1e9


def number(value):
    """An id or a size of the JSON as a number, None where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def shapes_of(content, image, cracks):
    """The segmentations that the JSON has for an image, [x, y, ...] or run lengths, each once."""
    found = [a.get("segmentation") for a in content["annotations"]
             if number(a.get("image_id")) == image and number(a.get("category_id")) in cracks]  # fmt: skip
    shapes = []
    for shape in found:
        shapes += shape if isinstance(shape, list) else [shape]
    return list({repr(shape): shape for shape in shapes}.values())


def between(shape, height, width):
    """Two (H, W) masks: pixels that must be crack (but for its edge) and pixels that may be, for one shape."""
    must, may = np.zeros((2, height, width), np.uint8)
    _, _, runs, spot = good()
    if isinstance(shape, dict):
        if shape == {"size": [height, width], "counts": runs}:
            return spot, spot
        counts = shape.get("counts")
        whole = isinstance(counts, list) and all(is_number(c) and c >= 0 for c in counts) and sum(counts) == must.size
        if whole and all(type(c) is int for c in counts) and shape.get("size") == [height, width]:
            must = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T.astype(np.uint8)
            return must, must
        return must, may + 1  # what damaged run lengths mean nobody knows
    if isinstance(shape, list) and len(shape) >= 6 and len(shape) % 2 == 0 and all(map(is_number, shape)):
        points = np.reshape(np.array(shape, float), (-1, 2))
        rows, columns = np.mgrid[:height, :width] + 0.5
        must = Outline(points).contains_points(np.c_[columns.ravel(), rows.ravel()]).reshape(height, width)
        cv2.fillPoly(may, [np.clip(np.round(points), -9999, 9999).astype(np.int32)], 1)
    return must.astype(np.uint8), may


def listed_as(photo, folder, content):
    """The id under which the JSON lists a photo."""
    names = {image["file_name"].replace("\\", "/"): number(image["id"]) for image in content["images"]}
    return next(found for name, found in names.items() if (folder / name).resolve() == photo.path.resolve())


def check_mask(photo, mask, content, listed, cracks, said):
    """Fails where the mask is not what the JSON says and nothing was said about this photo."""
    must, may = np.zeros((2, *mask.shape), np.uint8)
    for shape in shapes_of(content, listed, cracks):
        one, other = between(shape, *mask.shape)
        must, may = must | one, may | other
    wider = np.ones((3, 3), np.uint8)
    # corners are rounded to pixels above, which moves a steep edge by more than one
    assert not (mask & (1 - cv2.dilate(may, wider, iterations=2))).any(), f"{photo.name}: crack where no annotation is"
    if photo.name not in said:
        lost = must & (1 - cv2.dilate(mask, wider, iterations=2))
        assert not lost.any(), f"{photo.name}: an annotation was dropped in silence"


def check_line(error, name):
    text = str(error)
    assert len(text.splitlines()) == 1 and str(name) in text and len(text) < 900, f"not one line that names it: {text}"


def read_all(folder, audited):
    """Read the export and every photo as the commands do -> "worked", "said" or "refused"; AssertionError if wrong."""
    try:
        export = read_export(folder)
    except BadInput as error:
        check_line(error, folder)
        return "refused"
    content = json.loads((folder / "_annotations.coco.json").read_text(encoding="utf-8-sig"))
    cracks = {number(c["id"]) for c in content["categories"] if export.categories[c["name"]] == "crack"}
    said, refused, used = "\n".join(map(str, export.problems)), [], set()
    for photo in export.photos:
        assert photo.path.resolve().is_relative_to(folder.resolve()), f"{photo.name}: outside the export"
        listed = listed_as(photo, folder, content)
        used.add(listed)
        try:
            pixels, mask = photo.read()
        except BadInput as error:
            check_line(error, photo.path)
            refused.append(str(error))
            continue
        assert mask.shape == pixels.shape[:2] and pixels.dtype == mask.dtype == np.uint8 and mask.max(initial=0) < 2
        check_mask(photo, mask, content, listed, cracks, said)
    for image in content["images"]:
        name = str(PurePosixPath(image["file_name"].replace("\\", "/")))
        assert number(image["id"]) in used or name[:80] in said, f"{name}: left out in silence"
    if audited:
        report = audit(export)[0]
        words = [word for problem in export.problems for word in (problem.kind, problem.name)]
        assert all(word in report for word in words + refused), "the audit does not say everything"
        copies_or_line(export)
    return "refused" if refused else "said" if said else "worked"


def copies_or_line(export):
    try:
        copies(export.photos)
    except BadInput as error:
        check_line(error, export.root)


def run_case(number, seed, base, audited):
    """One case -> (its kind, what came of it, words on what is wrong)."""
    kind, rng, folder = list(KINDS)[number % len(KINDS)], np.random.default_rng([seed, number]), base / f"{number} ü"
    files, content, *_ = good()
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    content = json.loads(json.dumps(content))
    spoilt = KINDS[kind](rng, folder, content)
    if isinstance(spoilt, bytes):
        (folder / "_annotations.coco.json").write_bytes(spoilt)
    else:
        write_json(folder, content)
    began, words = time.process_time(), ""
    try:
        what = read_all(folder, audited)
    except Exception as error:
        what, words = "FAILED", f"{type(error).__name__}: {error}"
    if time.process_time() - began > SECONDS:
        what, words = "FAILED", f"{time.process_time() - began:.0f} s; {words}"
    if not words:
        shutil.rmtree(folder)
    return kind, what, words and f"case {number}, seed {seed}, {kind}: {words}"


def run_cases(count, base, seed=0, audit_every=10):
    """{kind: Counter of what came of its cases}, lines on failures; their folders are left in `base`."""
    table, failures = {kind: Counter() for kind in KINDS}, []
    for number in range(count):
        kind, what, words = run_case(number, seed, base, number % audit_every == number // len(KINDS) % audit_every)
        table[kind][what] += 1
        failures += [words] if words else []
    return table, failures


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    base = Path(tempfile.mkdtemp())
    table, failures = run_cases(args.cases, base, args.seed)
    columns = ("worked", "said", "refused", "FAILED")
    print(f"{'what is spoilt':36}{'cases':>7}" + "".join(f"{column:>9}" for column in columns))
    for kind, result in [*table.items(), ("all", sum(table.values(), Counter()))]:
        print(f"{kind:36}{result.total():7}" + "".join(f"{result[column]:9}" for column in columns))
    print(*failures, *([f"their folders: {base}"] if failures else []), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
