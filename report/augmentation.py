"""Pictures of the augmentation: what it makes of a few photos, and how its parameters are distributed."""

from matplotlib.figure import Figure

from augment import VERSIONS, apply, draw
from dataset import contact_sheet, outlined


def sheet(pairs, rng):
    """Picture of the original and five versions of each (photo, mask), a row each."""
    tiles = []
    for photo, mask in pairs:
        tiles.append((f"original  crack {mask.mean():.2%}", outlined(photo, mask)))
        for _ in range(VERSIONS):
            parameters = draw(mask, rng)
            version = apply(photo, mask, parameters, rng)
            words = "{rotation:+.0f} degrees, scale {scale:.2f}, brightness {brightness:+.0%}, contrast {contrast:+.0%}"
            tiles.append((words.format(**parameters), outlined(*version)))
    return contact_sheet(tiles, 1 + VERSIONS)


def distribution(pairs, rng):
    """Figure: histograms of rotation, scale, brightness and crack fraction over five versions of each pair."""
    drawn = [(pair, draw(pair[1], rng)) for pair in pairs for _ in range(VERSIONS)]
    values = {f"{name}, {unit}": [p[name] for _, p in drawn]
              for name, unit in (("rotation", "degrees"), ("scale", "times"), ("brightness", "share"))}  # fmt: skip
    values["crack, % of the photo"] = [100 * apply(*pair, p, rng)[1].mean() for pair, p in drawn]
    fig = Figure(figsize=(12, 3.2), layout="constrained")
    fig.suptitle(f"{len(drawn)} augmented versions")
    for axes, (name, numbers) in zip(fig.subplots(1, 4), values.items(), strict=True):
        axes.hist(numbers, bins=20, color="steelblue")
        axes.set(xlabel=name, ylabel="versions")
    return fig
