"""Names and colours of the labels of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Red, green, blue, 0 to 255.
Colour = tuple[int, int, int]
#: Of labels that have none of their own, in turn (can be told apart with colour blindness: Okabe & Ito 2008).
COLOURS: tuple[Colour, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178),
)  # fmt: skip


@dataclass(frozen=True)
class LabelTable:
    """What the labels of a file mean.

    Attributes:
        names: By label value; background (0) is not among them.
        colours: By label value, where there is one.
    """

    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, Colour] = field(default_factory=dict)


def colour_of(label: int, colours: Mapping[int, Colour] | None) -> Colour:
    """The colour that was given, else one of ``COLOURS``."""
    return (colours or {}).get(label) or COLOURS[(label - 1) % len(COLOURS)]
