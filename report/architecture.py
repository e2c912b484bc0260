"""A network explained: what every layer gives, costs and sees, as a table and as a picture."""

import copy
import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

FAR = 900  # pixels that every layer sees which sees to an end of the strip: its middle is farther away than that
ROW = 2048  # pixels of the strip on which receptive fields are measured: what a layer sees to its end is not known
TALL = 0.41  # of the distance between two rows of the picture, half the height of a box
COLOURS = {"photo": "#d9d9d9", "down": "#56b4e9", "up": "#e69f00"}
ARROWS = {"next": "k", "skip": "#009e73"}


@dataclass(frozen=True)
class Layer:
    """A child of a network, as one forward pass meets it."""

    name: str
    kind: str  # what it is made of
    shape: tuple  # of its output, the last of several: channels, height, width
    parameters: int
    macs: float  # multiply-accumulates
    sees: int  # pixels of the photo in a row that one of its outputs depends on, the most of all outputs
    sources: tuple  # names of the layers that it takes its input from; "photo" is the network's input


def kind(module):
    """What a module is made of, in a few words: "conv 3×3, norm, 2 FineBlock"."""
    if isinstance(module, nn.Conv2d):
        stride = f" / {module.stride[0]}" if module.stride[0] > 1 else ""
        return "conv {}×{}".format(*module.kernel_size) + stride
    if isinstance(module, nn.BatchNorm2d):
        return "norm"
    if not isinstance(module, nn.Sequential):
        return type(module).__name__
    parts = [(name, len(list(same))) for name, same in groupby(map(kind, module))]
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in parts)


def children(model):
    """{name: module}: the direct children, those of a list by their number."""
    found = {}
    for name, child in model.named_children():
        listed = isinstance(child, nn.ModuleList)
        found |= {f"{name}.{i}": part for i, part in enumerate(child)} if listed else {name: child}
    return found


def watch(model, photo):
    """One forward pass -> {name of a child: (its inputs, its outputs)} in the order in which they are met."""
    seen, hooks = {}, []
    for name, child in children(model).items():

        def note(module, inputs, output, name=name):
            if output is not inputs[0]:  # dropout that is off is no layer
                several = list(output.values()) if isinstance(output, dict) else output
                seen[name] = inputs, list(several) if isinstance(several, (list, tuple)) else [several]

        hooks.append(child.register_forward_hook(note))
    model(photo)
    for hook in hooks:
        hook.remove()
    return seen


def fields(model, period):
    """{name of a child: receptive field}: pixels of the photo in a row that one of its outputs depends on, the most of
    all its outputs.

    A nan in one column of the photo makes all nan that is computed from it, whatever the weights. It is put into each
    of `period` neighbouring columns, the largest stride of a power of 2, for what an output sees depends on where it
    lies between the strides.
    """
    photos = torch.zeros(period, 3, period, ROW)
    for i, photo in enumerate(photos):
        photo[:, :, (ROW - period) // 2 + i] = torch.nan
    with torch.no_grad():
        met = watch(copy.deepcopy(model).cpu().float().eval(), photos)
    return {name: field(outputs[-1].isnan().any(2).any(1).numpy()) for name, (_, outputs) in met.items()}


def field(touched):
    """(period, w) bool: is this output of the row nan, by the nan's column? -> pixels in a row that one output sees."""
    period, width = touched.shape
    if touched[:, [0, -1]].any():
        return ROW  # reaches the end: more than can be told
    columns, outputs = np.nonzero(touched)
    stride = 2.0 ** round(math.log2(ROW / width))  # under 1 where a layer is finer than the photo
    reach, phase = columns - np.floor(outputs * stride), outputs % max(1, int(period / stride))
    return max((int(np.ptp(reach[phase == one])) + 1 for one in set(phase)), default=0)


def sources(inputs, made_by, photo):
    """Names of the layers that the inputs were computed from, without a layer in between."""
    found, waiting, met = set(), [x.grad_fn for x in inputs if x is not photo], set()
    if len(waiting) < len(inputs):
        found.add("photo")
    while waiting:
        step = waiting.pop()
        if step in made_by:
            found.add(made_by[step])
        elif getattr(step, "variable", None) is photo:
            found.add("photo")
        elif step is not None and step not in met:
            met.add(step)
            waiting += [before for before, _ in step.next_functions]
    return tuple(sorted(found))


def layers(model, height, width):
    """Network -> [Layer] for a photo of this size. Nothing of it changes."""
    hollow = copy.deepcopy(model).to("meta").eval()  # shapes, costs and connections without computing
    photo = torch.empty(1, 3, height, width, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        graph = watch(hollow, photo)
    made_by = {output.grad_fn: name for name, (_, outputs) in graph.items() for output in outputs}
    stride = max(height / outputs[-1].shape[2] for _, outputs in graph.values() if outputs[-1].ndim == 4)
    costs, parts, found = counter.get_flop_counts(), children(model), []
    seen = fields(model, 2 ** math.ceil(math.log2(max(32, stride))))
    for name, (inputs, outputs) in graph.items():
        child, flops = parts[name], sum(costs.get(f"{type(model).__name__}.{name}", {}).values())
        parameters, shape = sum(parameter.numel() for parameter in child.parameters()), tuple(outputs[-1].shape[1:])
        macs = flops / 2  # an operation each to multiply and to add
        found.append(Layer(name, kind(child), shape, parameters, macs, seen[name], sources(inputs, made_by, photo)))
    return found


def sight(pixels):
    return f"{pixels} px" if pixels < ROW else f"over {FAR} px"


def table(found):
    """[Layer] -> lines of text, the sum last."""
    rows = [("layer", "made of", "output", "parameters", "GMAC", "sees")]
    for x in found:
        shape = "×".join(map(str, x.shape))
        rows.append((x.name, x.kind, shape, f"{x.parameters:,}", f"{x.macs / 1e9:.3f}", sight(x.sees)))
    parameters, macs = sum(x.parameters for x in found), sum(x.macs for x in found) / 1e9
    rows.append(("all", "", "", f"{parameters:,}", f"{macs:.3f}", sight(max(x.sees for x in found))))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [text.ljust(n) if i < 2 else text.rjust(n) for i, (text, n) in enumerate(zip(row, wide, strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def picture(found, title, height, width):
    """Figure: a box for each layer, left to right as computed, the coarser the lower; arrows say what feeds what."""
    strides = {"photo": 1} | {x.name: round(height / x.shape[1]) for x in found}
    rows = {stride: -i for i, stride in enumerate(sorted(set(strides.values())))}
    place = {name: (i, rows[stride]) for i, (name, stride) in enumerate(strides.items())}
    fig = Figure(figsize=(1.12 * len(place) + 0.6, 1.4 * len(rows) + 1.1), layout="constrained")
    fig.suptitle(title)
    axes = fig.subplots()
    axes.set(xlim=(-1.1, len(place) - 0.5), ylim=(min(rows.values()) - TALL - 0.03, 0.75))
    axes.axis("off")
    for stride, y in rows.items():
        axes.text(-0.62, y, f"1/{stride}" if stride > 1 else "full size", ha="right", va="center", color="#555555")
    keys = [Patch(fc=COLOURS[side], ec="k", label=f"on the way {side}") for side in ("down", "up")]
    keys += [Line2D([], [], color=ARROWS["skip"], lw=1.8, label="skip connection")]
    axes.legend(handles=keys, loc="lower left", bbox_to_anchor=(0.06, 0), frameon=False, fontsize=9)
    coarsest = max(strides, key=strides.get)
    draw_box(axes, place["photo"], ["photo", f"3×{height}×{width}"], COLOURS["photo"])
    for x in found:
        for source in x.sources:
            draw_arrow(axes, place, source, x.name)
        side = "down" if place[x.name][0] <= place[coarsest][0] else "up"
        words = [x.name, *x.kind.split(", "), "×".join(map(str, x.shape))]
        draw_box(axes, place[x.name], words, COLOURS[side])
    return fig


def draw_box(axes, place, words, colour):
    x, y = place
    box = FancyBboxPatch(
        (x - 0.42, y - TALL), 0.84, 2 * TALL, boxstyle="round,pad=0,rounding_size=0.06", fc=colour, ec="k"
    )
    axes.add_patch(box)
    bold = rf"$\bf{{{words[0]}}}$"  # report/figure.py turns this off for the names of photos
    axes.text(x, y, "\n".join([bold, *words[1:]]), ha="center", va="center", fontsize=7, parse_math=True)


def draw_arrow(axes, place, start, end):
    """Black from one layer to the next; green where layers are skipped, in a bow over boxes that stand between."""
    (x0, y0), (x1, y1) = place[start], place[end]
    skip, bow = x1 - x0 > 1, 0
    if y0 != y1:
        ends = ((x0 + 0.2, y0 - TALL), (x1, y1 + TALL)) if y1 < y0 else ((x0, y0 + TALL), (x1 - 0.2, y1 - TALL))
    elif any(y == y0 and x0 < x < x1 for x, y in place.values()):
        ends, bow = ((x0, y0 + TALL), (x1, y1 + TALL)), -0.6 / (x1 - x0)  # every bow equally high
    else:
        ends = (x0 + 0.42, y0), (x1 - 0.42, y1)
    style = {
        "arrowstyle": "-|>",
        "mutation_scale": 11,
        "color": ARROWS["skip" if skip else "next"],
        "lw": 1.8 if skip else 1.1,
    }
    axes.add_patch(FancyArrowPatch(*ends, connectionstyle=f"arc3,rad={bow}", shrinkA=0, shrinkB=0, **style))
