"""Random changes of a training photo and its mask: rotation, scale, brightness, contrast, noise, in this order."""

from pathlib import Path

import cv2
import numpy as np

from command import BadInput, execute, flags, number_of

VERSIONS = 5
ANGLE, SCALE, BRIGHTNESS, CONTRAST, SIGMA = 30.0, (0.8, 1.2), 0.2, 0.2, 10.0
UNCHANGED = {"rotation": 0.0, "scale": 1.0, "brightness": 0.0, "contrast": 0.0, "noise": 0.0}
MOST_CRACK_LOST, TRIES = 0.2, 20  # a draw that pushes more of the crack out of the frame is drawn again, so often


def draw(mask, rng, without=()):
    """Parameters of one version: degrees, times, two shares, and the noise's σ; those in `without` change nothing."""
    left_out = {name: UNCHANGED[name] for name in without}
    for _ in range(TRIES):
        parameters = {
            "rotation": rng.uniform(-ANGLE, ANGLE),
            "scale": rng.uniform(*SCALE),
            "brightness": rng.uniform(-BRIGHTNESS, BRIGHTNESS),
            "contrast": rng.uniform(-CONTRAST, CONTRAST),
            "noise": SIGMA,
        } | left_out
        if share_lost(mask, matrix(mask.shape, **parameters)) <= MOST_CRACK_LOST:
            return parameters
    return parameters | {"rotation": 0.0, "scale": 1.0}  # a crack in the corners only: nothing moves


def matrix(shape, rotation, scale, **_):
    """2×3 affine matrix: rotation about the middle of an (H, W) image, enlarged by `scale`."""
    height, width = shape
    return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rotation, scale)


def warp(image, affine, interpolation):
    """Rotation and scale in one interpolation; what moves in from outside is the mirrored image."""
    return cv2.warpAffine(image, affine, image.shape[1::-1], flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)


def share_lost(mask, affine):
    """Share of the crack's pixels that the affine map moves out of the frame; 0 without a crack."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 0.0
    x, y = affine @ np.stack([columns, rows, np.ones(len(rows))])
    height, width = mask.shape
    return 1 - np.mean((x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5))


def relight(photo, brightness, contrast, noise, rng):
    """uint8 photo -> uint8: brightness (all values times 1 + b), contrast about the mean, Gaussian noise of that σ."""
    light = photo.astype(np.float32) * (1 + brightness)
    mean = light.mean()
    light = (light - mean) * (1 + contrast) + mean
    light += noise * rng.standard_normal(photo.shape, dtype=np.float32)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def apply(photo, mask, parameters, rng):
    """One version with the given parameters; the mask stays as it is under light and noise."""
    affine = matrix(mask.shape, **parameters)
    photo, mask = warp(photo, affine, cv2.INTER_LINEAR), warp(mask, affine, cv2.INTER_NEAREST)
    return relight(photo, parameters["brightness"], parameters["contrast"], parameters["noise"], rng), mask


def augment(photo, mask, rng, without=()):
    """(H, W, 3) uint8 photo and (H, W) uint8 mask -> changed copies of the same size; `rng` is a numpy Generator.

    `without` names those of UNCHANGED that are left out; the others are drawn as they would be with them.
    """
    return apply(photo, mask, draw(mask, rng, without), rng)


def versions(photo, mask, rng):
    """(parameters, photo, mask) of each of the VERSIONS."""
    for _ in range(VERSIONS):
        parameters = draw(mask, rng)
        yield parameters, *apply(photo, mask, parameters, rng)


def write_versions(parts, out, seed):
    """Split COCO export at `out`: train photos with five versions each, valid and test as they are."""
    from tqdm import tqdm

    from data.convert import export_folder, mask_to_annotations, write_annotations
    from formats.photo import write_image

    with export_folder(out) as folder:
        for part, photos in parts.items():
            (folder / part).mkdir()
            rows, stems = [], [Path(item.name).stem for item in photos]
            if len(set(stems)) < len(stems):
                twice = max(stems, key=stems.count)
                raise BadInput(f"{part}: two photos are called {twice}, not counting suffix and folder; rename one")
            for number, item in enumerate(tqdm(photos, part, unit="photo")):
                stem, rng = Path(item.name).stem, np.random.default_rng([seed, number])
                photo, mask = item.read()
                changed = enumerate(versions(photo, mask, rng), 1) if part == "train" else ()
                images = [(stem, photo, mask), *((f"{stem}_v{i}", *version) for i, (_, *version) in changed)]
                for name, image, truth in images:
                    write_image(folder / part / f"{name}.jpg", image)
                    rows.append((f"{name}.jpg", *truth.shape, mask_to_annotations(truth)))
            write_annotations(folder / part, rows, "augment.py")


def arguments(argv):
    parser = flags(
        "See the augmentation: a sheet of originals and their five versions, and how the parameters are distributed. "
        "With --out, write the versions as a COCO export (train only; valid and test stay as they are).",
        "python augment.py",
        "python augment.py my-export --out my-export-augmented",
        common=("seed",),
    )
    parser.add_argument("data", nargs="?", help="folder or .zip of a COCO export (default: data/sample, drawn)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="all names of crack (default: any spelling)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the augmented export here")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    from data.split import split
    from dataset import open_data  # only now: these imports take seconds
    from formats.photo import Preprocess, write_image
    from report.augmentation import distribution, sheet
    from report.figure import save_figure

    export = open_data(args.data, args.classes)
    if args.out and args.out.resolve() == export.root.resolve():
        raise BadInput(f"--out {args.out}: the photos to augment lie there; name a new folder")
    parts, preprocess, rng = split(export, args.seed), Preprocess(), np.random.default_rng(args.seed)
    pairs = [preprocess.resize(*photo.read()) for photo in parts["train"] if photo.cracked]
    sound = [preprocess.resize(*photo.read()) for photo in [p for p in parts["train"] if not p.cracked][:1]]
    name = export.root.resolve().name
    shown = [(pair, list(versions(*pair, rng))) for pair in pairs[: 4 - len(sound)] + sound]
    write_image(Path(f"augment-{name}.png"), sheet(shown))
    drawn = [(parameters, mask.mean()) for pair in pairs for parameters, _, mask in versions(*pair, rng)]
    save_figure(Path(f"augment-{name}-distribution.png"), distribution(drawn))
    print(f"pictures: augment-{name}.png, augment-{name}-distribution.png")
    if args.out:
        write_versions(parts, args.out, args.seed)
        count = number_of(len(parts["train"]), "train photo")
        print(f"{args.out}: {count}, {VERSIONS} versions of each; others as they are")
    return 0


if __name__ == "__main__":
    execute(main)
