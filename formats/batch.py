"""Many photos in one command: which files are meant, the names of their results, and what happens if one fails."""

import errno
import sys
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor

import cv2
import torch

from command import BadInput, number_of
from formats.photo import BESIDE_PHOTOS, expand, left_out, photos_in, results_in

PHOTO_ERRORS = (
    BadInput,
    OSError,
    MemoryError,
    RuntimeError,
    ValueError,
    ArithmeticError,
    cv2.error,
)  # of a single photo
AT_A_TIME = 2  # photos in work; one of 12 megapixels takes about 300 MB
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # a full or locked disk: every photo would fail


def list_photos(arguments, out):
    """Files, folders and patterns such as photos/* -> list of files; a folder gives the photos directly in it.

    Results of an earlier prediction are left out, as photos/* names them, too; only a lone one is taken as a photo.
    Prints what is left out. Raises BadInput for a file that is not there and a folder without photos.
    """
    files = []
    paths = expand(arguments)
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path}: no such file or folder; check the name")
        if not path.is_dir():
            files.append(path)
            continue
        photos = photos_in(path)
        if not photos and len(paths) > 1 and results_in(path):
            print(f"note: {path}: skipped, it holds {left_out(path, photos)}")
            continue
        if path.resolve() == out.resolve():
            raise BadInput(f"--out {out}: the photos lie there; give the results another folder")
        if not photos:
            held = left_out(path, photos) or "nothing"
            raise BadInput(f"{path}: no photo directly in this folder (it holds {held}); give another folder")
        others = left_out(path, photos, silent=BESIDE_PHOTOS)
        if others:
            print(f"note: {path}: skipped {others}")
        files += photos
    photos = [path for path in files if path.suffix.lower() not in BESIDE_PHOTOS]  # photos/* names them, too
    results = {result for folder in {path.parent for path in photos} for result in results_in(folder)}
    named = len(results.intersection(photos))
    if named < len(photos):
        photos = [path for path in photos if path not in results]
        if named:
            print(f"note: skipped {number_of(named, 'picture')} of an earlier prediction")
    return list(dict.fromkeys(photos or files))  # with nothing else, reading them says what is wrong


def long_name(path):
    """A photo's folder and file name: tells apart photos of the same name in different folders."""
    return f"{path.resolve().parent.name}_{path.name}"


def result_names(photos):
    """List of files -> {file: prefix of the names of its results}: its name without suffix, or, where several files
    share that, with folder and suffix. Raises BadInput where even these are the same.

    On Windows and on a Mac, IMG_1 and img_1 are one name.
    """
    stems = Counter(path.stem.casefold() for path in photos)
    return different({path: path.stem if stems[path.stem.casefold()] == 1 else long_name(path) for path in photos})


def different(names):
    """{file: name} as it is. Raises BadInput if two files have the same name, so that no result replaces another."""
    files = {}
    for path, name in names.items():
        if name in files:
            raise BadInput(f"{path} and {files[name]}: the results of both would be called {name}; rename a folder")
        files[name] = path
    return names


def beside(start, end):
    """Path of results so far, end of the name -> the whole path: out/road, _mask.png -> out/road_mask.png."""
    return start.with_name(start.name + end)


def shown_name(path, prefix):
    """Photo, prefix of its results -> its name in titles and tables: with its folder where names repeat."""
    return path.name if prefix.name == path.stem else prefix.name


def in_threads(work, paths):
    """Yields (path, Future of work(path)) for each of the paths, in their order.

    AT_A_TIME photos are in work at a time, each with its share of PyTorch's threads: with more threads than the machine
    has processors, PyTorch's wait for one another most of the time.
    """
    threads = torch.get_num_threads()
    workers = max(1, min(AT_A_TIME, threads, len(paths)))
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=[threads // workers])
    waiting = deque()
    try:
        for path in paths:
            waiting.append((path, pool.submit(work, path)))
            if len(waiting) > workers:
                yield waiting.popleft()
        yield from waiting
    finally:  # after Ctrl-C, photos that were begun are finished and the others left
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def error_line(path, error):
    """One of PHOTO_ERRORS -> one line that names the file. Raises the error again if all other photos would fail."""
    if isinstance(error, OSError) and error.errno in HOPELESS:
        raise error
    message = str(error) if isinstance(error, BadInput) else f"{path}: {type(error).__name__}: {error}; skipped"
    return " ".join(message.split())


def exit_code(failed, count):
    """Print the lines about photos that failed, of `count` in all -> 0, 1 if some failed, 2 if all did."""
    for line in failed:
        print("error:", line, file=sys.stderr)
    if not failed:
        return 0
    return 1 if len(failed) < count else 2
