"""Pictures of the augmentation: what it makes of a few photos, and how its parameters are distributed."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from augment import SIGMA
from report.figure import contact_sheet, outlined


def sheet(rows):
    """Picture of [((photo, mask), [(parameters, photo, mask) of each version])], a row each."""
    tiles = []
    for (photo, mask), versions in rows:
        tiles.append((f"original  crack {mask.mean():.2%}", outlined(photo, mask)))
        for parameters, *version in versions:
            words = "{rotation:+.0f} degrees, scale {scale:.2f}, brightness {brightness:+.0%}, contrast {contrast:+.0%}"
            tiles.append((words.format(**parameters), outlined(*version)))
    return contact_sheet(tiles, 1 + len(versions))


def distribution(drawn):
    """Figure: histograms of the parameters and of the crack fraction over [(parameters, crack fraction)]."""
    units = {"rotation": "degrees", "scale": "times", "brightness": "share", "contrast": "share"}
    values = {f"{name}, {unit}": [parameters[name] for parameters, _ in drawn] for name, unit in units.items()}
    values["crack, % of the photo"] = [100 * crack for _, crack in drawn]
    fig = Figure(figsize=(14, 3.2), layout="constrained")
    fig.suptitle(f"{len(drawn)} augmented versions of the cracked train photos, each with noise of σ {SIGMA:.0f}")
    for axes, (name, numbers) in zip(fig.subplots(1, len(values)), values.items(), strict=True):
        axes.hist(numbers, bins=20, color="steelblue")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=name, ylabel="versions")
    return fig
