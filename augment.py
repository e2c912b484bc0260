"""Random changes of a training photo and its mask: rotation, scale, brightness, contrast, noise, in this order."""

import shutil
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from command import COMMON, BadInput, execute, flags, number_of
from data.split import split
from dataset import open_data
from formats.annotate import export_folder, mask_to_annotations, write_annotations
from formats.photo import Preprocess, write_image
from formats.pictures import contact_sheet, outlined, save_figure

VERSIONS = 5
ANGLE, SCALE, BRIGHTNESS, CONTRAST, SIGMA = 30.0, (0.8, 1.2), 0.2, 0.2, 10.0
UNCHANGED = {"rotation": 0.0, "scale": 1.0, "brightness": 0.0, "contrast": 0.0, "noise": 0.0}
MOST_CRACK_LOST, TRIES = 0.2, 20  # a draw that loses more of the crack is repeated, up to TRIES times


def draw(mask, rng, without=()):
    """Parameters of one version; those in `without` change nothing.

    They are the rotation in degrees, scale factor, brightness and contrast as fractions, sigma of the noise.
    """
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
    return parameters | {"rotation": 0.0, "scale": 1.0}  # every try lost too much, so neither rotate nor scale


def matrix(shape, rotation, scale, **_):
    """2×3 affine matrix: rotation about the middle of an (H, W) image, enlarged by `scale`."""
    height, width = shape
    return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rotation, scale)


def warp(image, affine, interpolation):
    """Rotation and scale in one interpolation; the border is filled with the mirrored image."""
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
    """One version with the given parameters; brightness, contrast and noise do not change the mask."""
    affine = matrix(mask.shape, **parameters)
    photo, mask = warp(photo, affine, cv2.INTER_LINEAR), warp(mask, affine, cv2.INTER_NEAREST)
    return relight(photo, parameters["brightness"], parameters["contrast"], parameters["noise"], rng), mask


def augment(photo, mask, rng, without=()):
    """(H, W, 3) uint8 photo and (H, W) uint8 mask -> changed copies of the same size; `rng` is a numpy Generator.

    `without` names the changes of UNCHANGED to leave out; the values drawn for the others stay the same.
    """
    return apply(photo, mask, draw(mask, rng, without), rng)


def versions(photo, mask, rng):
    """(parameters, photo, mask) of each of the VERSIONS."""
    for _ in range(VERSIONS):
        parameters = draw(mask, rng)
        yield parameters, *apply(photo, mask, parameters, rng)


def sheet(originals, rng):
    """[(photo, mask)] -> picture: each original with its versions beside it, the crack outlined."""
    tiles = []
    for photo, mask in originals:
        tiles.append((f"original  crack {mask.mean():.2%}", outlined(photo, mask)))
        for parameters, changed, truth in versions(photo, mask, rng):
            tiles.append((caption(**parameters), outlined(changed, truth)))
    return contact_sheet(tiles, columns=1 + VERSIONS)


def caption(rotation, scale, brightness, contrast, **_):
    """The drawn parameters in words; the z in the format makes -0 to +0."""
    return f"{rotation:+z.0f} degrees, scale {scale:.2f}, brightness {brightness:+z.0%}, contrast {contrast:+z.0%}"


def distribution(originals, rng):
    """[(photo, mask)] -> figure: histograms of the parameters and of the crack's share over all their versions."""
    units = {"rotation": "degrees", "scale": "factor", "brightness": "change", "contrast": "change"}
    values = {f"{name}, {unit}": [] for name, unit in units.items()}
    share = values["crack, % of the photo"] = []
    for photo, mask in originals:
        for parameters, _, truth in versions(photo, mask, rng):
            for name, unit in units.items():
                values[f"{name}, {unit}"].append(parameters[name])
            share.append(100 * truth.mean())
    fig = Figure(figsize=(14, 3.2), layout="constrained")
    fig.suptitle(
        f"{len(share)} augmented versions of the cracked train photos, each with noise of σ {SIGMA:.0f}; "
        f"changes that push more than {MOST_CRACK_LOST:.0%} of the crack out of the photo are drawn again"
    )
    for axes, (name, numbers) in zip(fig.subplots(1, len(values)), values.items(), strict=True):
        axes.hist(numbers, bins=20, color="steelblue")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=name, ylabel="versions")
    return fig


def write_versions(parts, out, seed):
    """Write a COCO export to `out`: train photos with their versions, valid and test photos as they are.

    Raises BadInput where two photos would get the same file name.
    """
    with export_folder(out) as folder:
        for part, photos in parts.items():
            (folder / part).mkdir()
            rows, names = [], set()
            for number, item in enumerate(tqdm(photos, part, unit="photo")):
                own = Path(item.name)
                photo, mask = item.read()
                shutil.copyfile(item.path, folder / part / own.name)  # saved again as JPEG, it would be another photo
                masks = {own.name: mask}
                if part == "train":
                    rng = np.random.default_rng([seed, number])
                    for version, (_, changed, truth) in enumerate(versions(photo, mask, rng), start=1):
                        name = f"{own.stem}_v{version}.jpg"
                        write_image(folder / part / name, changed)
                        masks[name] = truth
                for name, truth in masks.items():
                    stem = Path(name).stem.lower()  # on the disks of Windows and macOS, IMG_1 and img_1 are one name
                    if stem in names:
                        raise BadInput(f"{part}: two photos would be called {Path(name).stem}; rename {item.name}")
                    names.add(stem)
                    rows.append((name, *truth.shape, mask_to_annotations(truth)))
            write_annotations(folder / part, rows, "augment.py")


def arguments(argv):
    parser = flags(
        "Look at the augmentation: saves a picture of some train photos with five versions of each, and histograms of "
        "what was drawn. With --out, writes the versions as a COCO export; photos of valid and test stay as they are.",
        "python augment.py",
        "python augment.py my-export --out my-export-augmented",
        common=("seed",),
    )
    parser.add_argument("data", nargs="?", help="folder or .zip of a COCO export (default: data/sample)")
    parser.add_argument("--classes", **COMMON["classes"])
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the augmented export here")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    export = open_data(args.data, args.classes)
    if args.out and args.out.resolve() == export.root.resolve():
        raise BadInput(f"--out {args.out}: the photos to augment are there; name a new folder")
    parts = split(export, args.seed)
    preprocess = Preprocess()
    rng = np.random.default_rng(args.seed)
    cracked = [preprocess.resize(*photo.read()) for photo in parts["train"] if photo.cracked]
    undamaged = [photo for photo in parts["train"] if not photo.cracked]
    shown = cracked[:3] + [preprocess.resize(*photo.read()) for photo in undamaged[:1]]
    name = f"augment-{export.root.resolve().name}"
    picture, histograms = Path(f"{name}.png"), Path(f"{name}-distribution.png")
    write_image(picture, sheet(shown, rng))
    save_figure(histograms, distribution(cracked, rng))
    print(f"pictures: {picture}, {histograms}")
    if args.out:
        write_versions(parts, args.out, args.seed)
        count = number_of(len(parts["train"]), "train photo")
        print(f"{args.out}: {count} with {VERSIONS} versions of each; the other photos as they are")
    return 0


if __name__ == "__main__":
    execute(main)
