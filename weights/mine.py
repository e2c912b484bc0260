"""Hard negatives: of an export's undamaged photos, those in which a network finds a crack, as an export of their own.

    python weights/mine.py data/undamaged --checkpoint runs/stage4 --out data/hard

Trained on, they teach the network what looks like a crack and is none (Shrivastava et al. 2016, "Training region-based
object detectors with online hard example mining", does the same within each batch).
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from tqdm import tqdm

from command import BadInput, Parser, choose_device, execute, number_of
from formats.annotate import export_folder, write_annotations
from formats.coco import read_export
from inference import crack_mask, open_model
from model import fused, predict

DOUBTFUL = 0.3  # probability; lower than the threshold, so that near misses are learnt from, too


def false_alarms(photos, model, preprocess):
    """Yields the undamaged ones of [Photo] in which the network finds a crack, with their sizes (height, width)."""
    for photo in tqdm([photo for photo in photos if not photo.cracked], "looking for cracks", unit="photo"):
        picture, _ = photo.read()
        mask, _ = crack_mask(predict(model, preprocess, picture), DOUBTFUL)
        if mask.any():
            yield photo, mask.shape


def main(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("data", type=Path, help="COCO export")
    parser.add_argument("--checkpoint", type=Path, required=True, help="run folder or best.pt of the network")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the export to")
    args = parser.parse_args(argv)
    model, preprocess, _ = open_model(args.checkpoint, choose_device("auto"))
    rows = []
    with export_folder(args.out) as folder:
        for photo, shape in false_alarms(read_export(args.data).photos, fused(model), preprocess):
            name = Path(photo.path).name
            shutil.copyfile(photo.path, folder / name)
            rows.append((name, *shape, []))
        if not rows:
            raise BadInput(f"{args.data}: no false alarm in its undamaged photos; there is nothing to learn from them")
        write_annotations(folder, rows, "weights/mine.py", licence="that of the photos")
    print(f"{args.out}: {number_of(len(rows), 'false alarm')}")


if __name__ == "__main__":
    execute(main)
