"""SNOMED CT codes of structures, for DICOM: codes.csv, whose facts are those of TotalSegmentator's own table."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

CODES_FILE = Path(__file__).with_name("codes.csv")
SCHEME = "SCT"


class Code(NamedTuple):
    """A concept of SNOMED CT."""

    value: str
    meaning: str


class Codes(NamedTuple):
    """What a structure is: its kind, which one, of which side, and where it lies (tumours, effusions)."""

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None


#: Of structures that the table does not have.
UNKNOWN = Codes(Code("85756007", "Tissue"), Code("85756007", "Tissue"))


def codes_of(name: str) -> Codes:
    """The codes of a structure of TotalSegmentator's tasks; "tissue" for any other."""
    return _table().get(name, UNKNOWN)


@cache
def _table() -> dict[str, Codes]:
    with CODES_FILE.open(encoding="utf-8", newline="") as stream:
        return {row["name"]: Codes(*(_code(row, part) for part in Codes._fields)) for row in csv.DictReader(stream)}  # type: ignore[arg-type]


def _code(row: dict[str, str], part: str) -> Code | None:
    return Code(row[part], row[f"{part}_meaning"]) if row[part] else None
