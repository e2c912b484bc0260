"""What would repair cost? Quantities from measure.py and a table of unit prices -> money, low, central and high.

The table is the user's own; data/prices.csv is an example. Cracks wider than it covers are listed, not dropped.
"""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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
# the columns that hold a number, and what an empty cell of them means
EMPTY = {"low": "", "central": "", "high": "", "width_from_mm": "0", "width_to_mm": "inf", "minimum_charge": "0"}


def read_prices(path):
    """CSV file with COLUMNS, lines that start with # left out -> list of Price.

    Raises BadInput with file and line for a wrong cell, and for widths or items that two lines price.
    """
    lines = price_lines(path)
    header = next(csv.reader([lines[0][1]])) if lines else []
    if header != COLUMNS:
        raise BadInput(f"{path}: its first line is not {','.join(COLUMNS)}; begin with it, as {EXAMPLE} does")
    prices = []
    for number, line in lines[1:]:
        try:
            price = _price(next(csv.reader([line])))
            _check_together(price, prices)
        except (ValueError, csv.Error) as error:
            raise BadInput(f"{path}, line {number}: {error}") from None
        prices.append(price)
    if not prices:
        raise BadInput(f"{path}: no price in it; add a line as in {EXAMPLE}")
    return prices


def price_lines(path):
    """-> list of (number, text) of the lines that are neither empty nor comments. Raises BadInput."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets put a mark before the first letter
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the name, or copy {EXAMPLE}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not text in UTF-8; save the table as CSV UTF-8") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line and not line.lstrip('"').startswith("#")]


def _price(cells):
    """A line's cells -> Price. ValueError says which cell is wrong."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, not {len(COLUMNS)}; quote a cell that has a comma in it")
    cell = {name: text.strip() for name, text in zip(COLUMNS, cells, strict=True)}
    if UNITS.get(cell["item"]) != cell["unit"]:
        raise ValueError(f"item {cell['item']!r} by {cell['unit']!r}; give seal by m, or patch by m2")
    if not cell["currency"]:
        raise ValueError("currency is empty; give one, for example EUR")
    if cell["item"] == "patch" and (cell["width_from_mm"] or cell["width_to_mm"]):
        raise ValueError("patch has no widths; leave width_from_mm and width_to_mm empty")
    numbers = {name: _number(name, cell[name] or empty) for name, empty in EMPTY.items()}
    price = Price(**cell | numbers)
    if not price.low <= price.central <= price.high:
        raise ValueError("low, central, high do not rise; give them in this order")
    if not price.width_from_mm < price.width_to_mm:
        raise ValueError("width_from_mm is not under width_to_mm; swap them, or leave one empty")
    return price


def _number(key, text):
    """Cell -> float, 0 or more; only width_to_mm may be infinite. ValueError names the column."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value < np.inf and not (key == "width_to_mm" and value == np.inf):
        raise ValueError(f"{key} is {text!r}; give a number of 0 or more, with a point for decimals")
    return value


def _check_together(price, others):
    """ValueError if a price has another currency than those before it, or is for what one of them is for."""
    if others and price.currency != others[0].currency:
        raise ValueError(f"currency {price.currency}, but {others[0].currency} before; one file holds one currency")
    for other in others:
        overlap = max(price.width_from_mm, other.width_from_mm) < min(price.width_to_mm, other.width_to_mm)
        if other.item == price.item and overlap:
            raise ValueError(f"{price.item} has a price already for some widths; let the ranges meet, or keep one line")


def width_edges(prices):
    """Prices -> tuple of mm: the width classes to give to measure.quantities, so that each class has one price."""
    edges = {edge for price in prices if price.item == "seal" for edge in (price.width_from_mm, price.width_to_mm)}
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
        price = _price_for(need, prices)
        if price is None:
            not_priced.append(need)
        else:
            lines.append(asdict(price) | need | _costs(need, price))
    return {
        "currency": prices[0].currency,
        "scope": SCOPE,
        "low": float(sum(line["cost_low"] for line in lines)),
        "central": float(sum(line["cost_central"] for line in lines)),
        "high": float(sum(line["cost_high"] for line in lines)),
        "minimum_applied": any(line["minimum_applied"] for line in lines),
        "lines": lines,
        "not_priced": not_priced,
    }


def _needs(quantities):
    """What there may be to do: dicts as in estimate's not_priced."""
    needs = []
    for part in quantities["seal"]:
        needs.append(_need("seal", part["length_m"], part["plus_minus_m"], part["width_from_mm"], part["width_to_mm"]))
    needs.append(_need("patch", quantities["patch_m2"], quantities["patch_plus_minus_m2"], 0, np.inf))
    return [need for need in needs if need["quantity"] + need["plus_minus"] > 0]


def _need(item, quantity, plus_minus, width_from_mm, width_to_mm):
    """One dict of _needs."""
    return {
        "item": item,
        "unit": UNITS[item],
        "width_from_mm": float(width_from_mm),
        "width_to_mm": float(width_to_mm),
        "quantity": float(quantity),
        "plus_minus": float(plus_minus),
    }


def _price_for(need, prices):
    """The price that holds for all the widths of what is needed, or None."""
    for price in prices:
        wide = price.width_from_mm <= need["width_from_mm"] and need["width_to_mm"] <= price.width_to_mm
        if price.item == need["item"] and wide:
            return price
    return None


def _costs(need, price):
    """What is needed at this price -> the keys that estimate adds to a line."""
    quantity, unsure = need["quantity"], need["plus_minus"]
    return {
        "cost_low": _cost(quantity - unsure, price.low, price.minimum_charge),
        "cost_central": _cost(quantity, price.central, price.minimum_charge),
        "cost_high": _cost(quantity + unsure, price.high, price.minimum_charge),
        "minimum_applied": bool(quantity > 0 and quantity * price.central < price.minimum_charge),
    }


def _cost(quantity, unit_price, minimum_charge):
    """Money for a quantity, nothing for nothing, else at least the minimum charge."""
    if quantity <= 0:
        return 0.0
    return float(max(quantity * unit_price, minimum_charge))
