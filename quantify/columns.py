"""What each column of cracks.csv, and each key of a row in cracks.json, says: shown in report.html."""

from quantify.measure import MEASURABLE_PX, WIDTH_EDGES_MM
from quantify.specks import SPECK_SHARE

PIXELS = {
    "photo": "file name",
    "second": "of a video: when the frame is shown; empty for a photo",
    "copy_of": "the photo of which this file is a copy, byte for byte: it counts once in all sums; mostly empty",
    "photo_width": "of the file, pixels",
    "photo_height": "of the file, pixels",
    "latitude": "degrees north, from the photo's EXIF; empty without",
    "longitude": "degrees east",
    "crack_percent": "share of the road in the photo that is crack",
    "crack_area_px": "pixels that are crack, specks left out (with a sheet or marker this and what follows is of the "
    "picture of the road from above, while mask.png is of the photo)",
    "length_px": "of the crack's smoothed centre line with all branches, pixels: the way that a sealing crew drives",
    "traced_length_px": "of the centre line with every turn, pixels; a jagged crack is longer by it than by length_px",
    "width_median_px": "half of the centre line is narrower, pixels; empty if no place is clear of junctions and ends",
    "width_p95_px": "95 % of the centre line is narrower, pixels",
    "width_max_px": "widest place clear of junctions and ends, pixels",
    "width_max_x": "where it is, pixels from the left (with a sheet or marker: in the picture of the road from above)",
    "width_max_y": "where it is, pixels from the top",
    "below_measurable": f"True: the median width is under {MEASURABLE_PX} pixels, so no width here can be trusted",
    "pattern": "of most of the length: longitudinal (photo's up is the direction of travel), transverse, diagonal, "
    "closed (a ring), block/alligator (a network with cells), none",
    "junctions": "places where branches meet",
    "cells": "pieces of road enclosed by cracks",
    "specks": f"pieces that the network took for crack but that reach over less than {SPECK_SHARE:.1%} of the photo's "
    "longer side: left out of the mask and of every number here",
}
MILLIMETRES = {
    "indicative_severity": "low, medium, high, by width as in ASTM D6433; no PCI",
    "mm_per_pixel": "size of a pixel on the road",
    "scale_plus_minus_percent": "how sure that is",
    "scale_source": "where it comes from",
    "scale_note": "what speaks against it: check this before you use the millimetres; mostly empty",
    "photographed_m2": "road in the photo, square metres",
    "length_m": "length_px in metres",
    "width_median_mm": "width_median_px in millimetres",
    "width_max_mm": "width_max_px in millimetres",
    "seal_low_m": f"metres of crack under {WIDTH_EDGES_MM[0]} mm wide, networks left out",
    "seal_medium_m": f"metres of crack {WIDTH_EDGES_MM[0]} to {WIDTH_EDGES_MM[1]} mm wide, networks left out",
    "seal_high_m": f"metres of crack over {WIDTH_EDGES_MM[1]} mm wide, networks left out",
    "patch_m2": "square metres of block and alligator cracking, its cells included",
}
NOT_IN_IT = (
    "The ± hold for the cracks that were found. What the network missed and what it took for a crack is not in them, "
    "and can be more than all of these: look at the pictures."
)
PLUS_MINUS = (
    "Columns with plus_minus hold the uncertainty of the column of that name, 1 sigma: of the mask's edge (1 pixel), "
    "the scale, the turns of a jagged crack (traced_length_px), and the camera's tilt where no sheet or marker takes "
    "it out. Beside a ± they are rounded up. "
    f"{NOT_IN_IT}"
)
