"""Every photo and video of one command: examined, measured, its results written; what was done before is kept."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from command import BadInput
from formats.video import SUFFIXES as VIDEOS
from formats.video import read_frames, timing, written_video
from measure import measure
from photo import read_photo, write_image
from quantify.damage import damage, sentence
from quantify.exif import exif
from quantify.scale import find_scale, rectify
from report.figure import figure, overlay, save_figure
from report.survey import read_record, save_record

FEW = 20  # photos of which each gets a figure: it takes longer than all the rest


@dataclass(frozen=True)
class Job:
    """What is done with every photo of this command."""

    answer: object  # function: photo -> crack probability
    threshold: float
    args: object  # the flags of find_scale
    width_edges_mm: tuple
    made_with: dict  # plain values on which the results depend

    def examine(self, photo, path):
        """Photo -> (mask of its size, result of `damage`, views): views are photo, probability, mask as measured, what
        measure gave, mm per pixel or None. With a homography they are the road from above."""
        scale = find_scale(photo, path, self.args)  # first: a missing sheet is found out at once
        probability = self.answer(photo)
        mask = (probability >= self.threshold).astype(np.uint8)
        views, valid_px = (photo, probability, mask), mask.size
        if scale and scale.homography is not None:
            flat = [rectify(image, scale) for image in views]
            views, valid_px = tuple(image for image, *_ in flat), int(flat[0][1].sum())
        measured = measure(views[2])
        result = damage(measured, valid_px, scale, self.width_edges_mm)
        return mask, result, (*views, measured, scale and scale.mm_per_pixel)

    def about(self, path):
        """What a record of this file must say to be still true."""
        return self.made_with | {"bytes": path.stat().st_size, "changed": path.stat().st_mtime}


def first_columns(path, photo, second=None):
    """The columns of a row that do not come from the crack."""
    latitude, longitude = exif(path)["gps"] or (None, None)
    place = {"latitude": latitude, "longitude": longitude}
    return {"photo": path.name, "second": second, "photo_width": photo.shape[1], "photo_height": photo.shape[0]} | place


def segment_photo(job, photo, path, start, with_figure):
    """Write START_mask.png (0 and 255), _overlay.jpg, perhaps _figure.png, and last _cracks.json; returns that."""
    mask, result, (flat, probability, flat_mask, measured, mm) = job.examine(photo, path)
    result["row"] = first_columns(path, photo) | result["row"]
    write_image(start.with_name(f"{start.name}_mask.png"), 255 * mask)
    write_image(start.with_name(f"{start.name}_overlay.jpg"), overlay(flat, flat_mask, measured, mm))
    if with_figure:
        title = f"{path.name}: {sentence(result['row'])}"
        title += f"\nscale: {result['row']['scale_source']}" if mm else "\nno scale, so no millimetres"
        fig = figure(flat, probability, flat_mask, measured, title, mm)
        save_figure(start.with_name(f"{start.name}_figure.png"), fig)
    return save_record(start, job.about(path), [result])


def segment_video(job, path, start, every):
    """Write START_cracks.mp4, the frames with their cracks marked, and last START_cracks.json; returns that."""
    results, (step, fps) = [], timing(path, every)
    with written_video(start.with_name(f"{start.name}_cracks.mp4"), fps) as add:
        for number, frame in tqdm(read_frames(path, step), path.name, leave=False, unit="frame"):
            _, result, (flat, _, mask, measured, mm) = job.examine(frame, path)
            if flat is not frame:
                raise BadInput(f"{path}: a sheet or marker is for photos; give --mm-per-pixel or --reference")
            add(overlay(frame, mask, measured, mm))
            results.append(result | {"row": first_columns(path, frame, number / step / fps) | result["row"]})
    return save_record(start, job.about(path), results)


def read_ahead(paths, photos=3):
    """Paths -> (path, function that gives its photo or raises BadInput): decoded in threads, few at a time."""
    with ThreadPoolExecutor(2) as pool:
        waiting = deque()
        for path in paths:
            waiting.append((path, pool.submit(read_photo, path).result if path.suffix.lower() not in VIDEOS else None))
            if len(waiting) > photos:
                yield waiting.popleft()
        yield from waiting


def segment_all(job, names, out, every, figures):
    """{file: name} -> (records in the order of the files, messages of those that failed); done ones are left alone."""
    done = {path: read_record(out / name, job.about(path)) for path, name in names.items()}
    todo = [path for path in names if done[path] is None]
    if len(todo) < len(names):
        print(f"{len(names) - len(todo)} of {len(names)} were done before, with the same flags; kept")
    failed = []
    for path, photo in tqdm(read_ahead(todo), total=len(todo), disable=len(todo) < 2, unit="photo"):
        start = out / names[path]
        try:
            if photo is None:
                done[path] = segment_video(job, path, start, every)
            else:
                done[path] = segment_photo(job, photo(), path, start, figures)
                if len(names) <= FEW:
                    tqdm.write(f"{path}: {sentence(done[path]['results'][0]['row'])}")
        except BadInput as error:
            failed.append(str(error))
    return {path: record for path, record in done.items() if record}, failed
