"""Segments of a node, and when two of them mean the same structure: by their names, or by their terminology."""

import colorsys
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

#: Terminology types that say nothing about the structure (what Slicer gives to every new segment): Tissue.
GENERIC_TYPES = {("SCT", "85756007"), ("SRT", "T-D0050")}
#: Fields of a terminology entry (joined by ~) that name the structure: type, its modifier, region, its modifier.
TYPE_FIELDS = (2, 3, 5, 6)
LONGEST_NAME = 80
#: Hues this far apart (of 1) stay different for any number of labels: the golden ratio.
HUE_STEP = 0.618034
#: Names that are written out in one sentence; the rest is counted.
SHOWN_NAMES = 6
COLOR_TABLE = "vtkMRMLColorTableNodeFileGenericAnatomyColors.txt"


@dataclass(frozen=True)
class SeenSegment:
    """A segment of one of the cases: name, colour (red, green, blue, 0..1) and terminology entry."""

    name: str
    color: tuple[float, float, float]
    terminology: str


def segmentsOf(segmentationNode: Any) -> list[SeenSegment]:
    """The segments of a node in their order."""
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(i) for i in range(segmentation.GetNumberOfSegments())]
    return [SeenSegment(s.GetName() or "", tuple(s.GetColor()), terminologyOf(s)) for s in segments]


def nameKey(name: str) -> str:
    """Equal for names that differ only in case, underscores and spaces."""
    return " ".join(re.split(r"[\s_]+", unicodedata.normalize("NFC", name).strip(" \t\n_"))).casefold()


def cleanName(name: str) -> str:
    """The name as a dataset can hold it: one line, no control characters, not empty."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)
    return " ".join(text.split())[:LONGEST_NAME].strip() or "segment"


def uniqueName(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where `taken` (of `nameKey`) holds it."""
    number, result = 2, name
    while nameKey(result) in taken:
        result, number = f"{name} {number}", number + 1
    return result


def listed(names: Sequence[str]) -> str:
    """Names separated by commas; of many the first ones and the number of the others."""
    text = ", ".join(names[:SHOWN_NAMES])
    more = len(names) - SHOWN_NAMES
    return text if more <= 0 else _("{names} and {count} more").format(names=text, count=more)


def terminologyOf(segment: Any) -> str:
    """The terminology entry of a vtkSegment, empty for none (GetTerminology is newer than Slicer 5.8)."""
    entry = vtk.reference("")
    return str(entry) if segment.GetTag(segment.GetTerminologyEntryTagName(), entry) else ""


def structureKey(terminology: str) -> tuple | None:
    """The codes of the structure that a terminology entry names; None where it is missing or says only "tissue"."""
    fields = terminology.split("~")
    if len(fields) < 3:
        return None
    codes = tuple(tuple(fields[i].split("^")[:2]) if i < len(fields) else ("", "") for i in TYPE_FIELDS)
    unknown = codes[0] in GENERIC_TYPES or not any(codes[0])
    return None if unknown else codes


def meaning(terminology: str) -> str:
    """The name of the structure in words, such as "Kidney (Left)"."""
    fields = [field.split("^")[-1] for field in terminology.split("~")]
    words = [fields[i] for i in TYPE_FIELDS if i < len(fields) and fields[i]]
    return f"{words[0]} ({', '.join(words[1:])})" if len(words) > 1 else "".join(words)


def distinctColor(number: int) -> tuple[float, float, float]:
    """A colour for label 1, 2, ...: Slicer's generic anatomy colours, then hues far from each other."""
    table = slicer.mrmlScene.GetNodeByID(COLOR_TABLE) if slicer.mrmlScene is not None else None
    if table is not None and 0 < number < table.GetNumberOfColors():
        color = [0.0] * 4
        table.GetColor(number, color)
        return color[0], color[1], color[2]
    return colorsys.hsv_to_rgb(number * HUE_STEP % 1, 0.6, 0.9)
