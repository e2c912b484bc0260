"""What each column of cracks.csv, and each key of a row in cracks.json, means. The survey's page shows it."""

from quantify.measure import WIDTH_EDGES_MM
from quantify.skeleton import MEASURABLE_PX
from quantify.specks import SPECK_SHARE

LOW, MEDIUM = WIDTH_EDGES_MM

PIXELS = {
    "photo": "file name; with its folder where two files have the same name",
    "second": "video: time of the frame; empty for a photo",
    "copy_of": "the photo that this file is an exact copy of; a copy is counted in no total; usually empty",
    "photo_width": "width of the file, pixels",
    "photo_height": "height of the file, pixels",
    "latitude": "degrees north, from the photo's EXIF; empty without",
    "longitude": "degrees east, from the photo's EXIF; empty without",
    "crack_percent": "share of the road in the photo that is crack, percent",
    "crack_area_px": "pixels that are crack, without specks. With a sheet or marker, this number and all that follow "
    "are of the road seen from above; the mask file is of the photo itself",
    "length_px": "length of the crack's smoothed centre line with all branches, pixels: the way a sealing crew follows",
    "traced_length_px": "length of the centre line with every small turn, pixels; larger for a jagged crack",
    "width_median_px": "median width along the centre line, pixels; empty if every place is near a junction or an end",
    "width_p95_px": "95 % of the centre line is narrower than this, pixels",
    "width_max_px": "width of the widest place, pixels; places near junctions and ends do not count",
    "width_max_x": "where the widest place is, pixels from the left (with a sheet or marker: seen from above)",
    "width_max_y": "where the widest place is, pixels from the top",
    "below_measurable": f"True: the median width is below {MEASURABLE_PX} pixels, too thin to measure any width here",
    "pattern": "pattern of most of the length: longitudinal (the photo's up is the direction of travel), transverse, "
    "diagonal, closed (a ring), block/alligator (a network with cells) or none",
    "junctions": "number of places where branches meet",
    "cells": "number of pieces of road that cracks enclose",
    "specks": "number of pieces that the network took for crack but that are too small, less than "
    f"{SPECK_SHARE:.1%} of the photo's longer side; they are in no mask and no number",
}
MILLIMETRES = {
    "indicative_severity": "low, medium, high or none, by width as in ASTM D6433; not a PCI",
    "mm_per_pixel": "size of a pixel on the road, millimetres",
    "scale_plus_minus_percent": "uncertainty of that size, percent",
    "scale_source": "where that size comes from",
    "scale_note": "a reason to check that size before you use the millimetres; usually empty",
    "photographed_m2": "road in the photo, square metres",
    "length_m": "length_px in metres",
    "width_median_mm": "width_median_px in millimetres",
    "width_max_mm": "width_max_px in millimetres",
    "seal_low_m": f"metres of crack below {LOW} mm wide, without what is patched",
    "seal_medium_m": f"metres of crack {LOW} to {MEDIUM} mm wide, without what is patched",
    "seal_high_m": f"metres of crack above {MEDIUM} mm wide, without what is patched",
    "patch_m2": "square metres of networks (block and alligator cracking), with the cells inside; branches that lead "
    "away from the cells are sealed",
}
NOT_IN_IT = (
    "The ± holds for the cracks that were found. Cracks that the network missed, or took for a crack by mistake, are "
    "not included and may be the larger error: look at the photos."
)
PLUS_MINUS = (
    "A column with plus_minus in its name is the uncertainty, 1 standard deviation, of the column without it. It "
    "covers the edge of the mask (1 pixel), the scale, the small turns of a jagged crack (traced_length_px) and, "
    "without a sheet or marker, the tilt of the camera. Next to a ± sign it is rounded up. "
    f"{NOT_IN_IT}"
)
