"""What would repair cost? Quantities from measure.py and a table of unit prices -> money, low, central and high.

The table is the user's own: data/prices.csv is an example. Cracks wider than it covers are named, not dropped.
"""

import csv
from dataclasses import asdict, dataclass, fields

import numpy as np

from command import BadInput

UNITS = {"seal": "m", "patch": "m2"}
SCOPE = "for the photographed area"
EXAMPLE = "data/prices.csv"


@dataclass(frozen=True)
class Price:
    """A line of the table: money per unit, for cracks width_from_mm to width_to_mm wide (patch: all)."""

    item: str
    unit: str
    low: float
    central: float
    high: float
    currency: str
    width_from_mm: float
    width_to_mm: float
    minimum_charge: float
    source: str


COLUMNS = [field.name for field in fields(Price)]


def read_prices(path):
    """CSV file with COLUMNS, lines that start with # left out -> list of Price.

    Raises BadInput with file and line for a wrong cell, and for widths or items that two lines price.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            numbered = [(number, line.strip()) for number, line in enumerate(file, 1)]
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the name, or copy {EXAMPLE}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not text in UTF-8; save the table as CSV UTF-8") from None
    numbered = [(n, line) for n, line in numbered if line and not line.lstrip('"').startswith("#")]
    if (header := next(csv.reader([numbered[0][1]])) if numbered else []) != COLUMNS:
        raise BadInput(f"{path}: {_wrong_header(header)}; begin with {','.join(COLUMNS)}, as {EXAMPLE} does")
    prices = []
    for number, line in numbered[1:]:
        try:
            prices.append(_price(next(csv.reader([line]))))
            _check_together(prices)
        except (ValueError, csv.Error) as error:
            raise BadInput(f"{path}, line {number}: {error}") from None
    if not prices:
        raise BadInput(f"{path}: no price in it; add a line as in {EXAMPLE}")
    return prices


def _wrong_header(header):
    """What is wrong with a first line that should name COLUMNS."""
    if len(header) < 2:
        return "its columns are not separated by commas" if header else "empty"
    missing = [column for column in COLUMNS if column not in header]
    return f"no column {', '.join(missing)}" if missing else "its columns are in another order, or more"


def _price(cells):
    """A line's cells -> Price. ValueError says which cell is wrong."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, not {len(COLUMNS)}; quote a cell that has a comma in it")
    cell = dict(zip(COLUMNS, map(str.strip, cells), strict=True))
    if UNITS.get(cell["item"]) != cell["unit"]:
        raise ValueError(f"item {cell['item']!r} by {cell['unit']!r}; give seal by m, or patch by m2")
    if not cell["currency"]:
        raise ValueError("currency is empty; give one, for example EUR")
    empty = {"width_from_mm": "0", "width_to_mm": "inf", "minimum_charge": "0"}
    numbers = {key: _number(key, cell[key] or empty.get(key, "")) for key in COLUMNS[2:5] + COLUMNS[6:9]}
    if not numbers["low"] <= numbers["central"] <= numbers["high"]:
        raise ValueError("low, central, high do not rise; give them in this order")
    if not numbers["width_from_mm"] < numbers["width_to_mm"]:
        raise ValueError("width_from_mm is not under width_to_mm; swap them, or leave one empty")
    if cell["item"] == "patch" and (cell["width_from_mm"] or cell["width_to_mm"]):
        raise ValueError("patch has no widths; leave width_from_mm and width_to_mm empty")
    return Price(**(cell | numbers))


def _number(key, text):
    """Cell -> float, 0 or more; only width_to_mm may be infinite. ValueError names the column."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value < np.inf and not (key == "width_to_mm" and value == np.inf):
        raise ValueError(f"{key} is {text!r}; give a number of 0 or more, with a point for decimals")
    return value


def _check_together(prices):
    """ValueError if the last line has another currency, or prices what a line before it does."""
    *others, last = prices
    if any(p.currency != last.currency for p in others):
        raise ValueError(f"currency {last.currency}, but {others[0].currency} before; one file holds one currency")
    if any(p.item == last.item and max(p.width_from_mm, last.width_from_mm) < min(p.width_to_mm, last.width_to_mm)
           for p in others):  # fmt: skip
        raise ValueError(f"{last.item} has a price already for some widths; let the ranges meet, or keep one line")


def width_edges(prices):
    """Prices -> tuple of mm: the width classes to give to measure.quantities, so that each class has one price."""
    edges = {edge for p in prices if p.item == "seal" for edge in (p.width_from_mm, p.width_to_mm)}
    return tuple(sorted(edges - {0.0, np.inf}))


def estimate(quantities, prices):
    """What measure.quantities gave, with width_edges(prices); list of Price -> dict, every value plain.

    currency, scope, low, central, high: totals; minimum_applied: is the central cost of any line the minimum charge?
    lines: dicts of a Price's keys as well as quantity, plus_minus, cost_low, cost_central, cost_high, and
        minimum_applied: is the central cost the minimum charge?
    not_priced: dicts of item, unit, width_from_mm, width_to_mm, quantity, plus_minus: no line covers these widths whole
    The low cost is the low price of the quantity less its uncertainty, the high one the high price of the quantity
    and its uncertainty; totals add them up, so they are wider than the errors' likely sum.
    """
    lines, not_priced = [], []
    for need in _needs(quantities):
        price = next((p for p in prices if _covers(p, need)), None)
        if price is None:
            not_priced.append(need)
            continue
        quantity, unsure = need["quantity"], need["plus_minus"]
        low, central, high = (
            _cost(quantity + side * unsure, getattr(price, name), price.minimum_charge)
            for side, name in ((-1, "low"), (0, "central"), (1, "high"))
        )
        minimum = bool(0 < quantity * price.central < price.minimum_charge)
        costs = {"cost_low": low, "cost_central": central, "cost_high": high, "minimum_applied": minimum}
        lines.append(asdict(price) | need | costs)
    totals = {key: float(sum(line[f"cost_{key}"] for line in lines)) for key in ("low", "central", "high")}
    least = {"minimum_applied": any(line["minimum_applied"] for line in lines)}
    return {"currency": prices[0].currency, "scope": SCOPE, **totals, **least, "lines": lines, "not_priced": not_priced}


def _needs(quantities):
    """What there may be to do: dicts as in estimate's not_priced."""
    seal = [
        ("seal", row["width_from_mm"], row["width_to_mm"], row["length_m"], row["plus_minus_m"])
        for row in quantities["seal"]
    ]
    patch = "patch", 0, np.inf, quantities["patch_m2"], quantities["patch_plus_minus_m2"]
    return [
        {"item": item, "unit": UNITS[item], "width_from_mm": float(a), "width_to_mm": float(b),
         "quantity": float(quantity), "plus_minus": float(unsure)}
        for item, a, b, quantity, unsure in (*seal, patch)
        if quantity + unsure > 0
    ]  # fmt: skip


def _covers(price, need):
    """Does this price hold for all the widths of what is needed?"""
    wide = price.width_from_mm <= need["width_from_mm"] and need["width_to_mm"] <= price.width_to_mm
    return price.item == need["item"] and wide


def _cost(quantity, unit_price, minimum_charge):
    """Money for a quantity, nothing for nothing, else at least the minimum charge."""
    return float(max(quantity * unit_price, minimum_charge)) if quantity > 0 else 0.0


def cost_rows(money):
    """What `estimate` gave -> [[item, quantity, low, central, high]] as text, the total last."""
    rows = []
    for line in money["lines"]:
        width = "" if line["item"] == "patch" else f" {line['width_from_mm']:g} to {line['width_to_mm']:g} mm wide"
        costs = [f"{line[f'cost_{level}']:.0f}" for level in ("low", "central", "high")]
        rows.append([line["item"] + width, f"{line['quantity']:.2f} {line['unit']}", *costs])
    totals = [f"{money[level]:.0f}" for level in ("low", "central", "high")]
    return [*rows, [f"total, {money['currency']}", "", *totals]]
