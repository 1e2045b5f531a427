"""model.json beside plans.json: what a model is called, and where it came from."""

from __future__ import annotations

from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import Record

CARD_FILE = "model.json"


class ModelCard(Record):
    """model.json; a model need not have one.

    Attributes:
        title: For people; None: made from the folder's name.
        origin: "imported from FILE.zip"; None: it was trained in its place.
        imported: When (ISO 8601), for models that were imported.
    """

    title: str | None = None
    origin: str | None = None
    imported: str | None = None


def load_card(model: Path) -> ModelCard:
    """The card of a model folder; an empty one where it is missing or damaged: nothing depends on it."""
    try:
        return ModelCard.load(model / CARD_FILE)
    except UserError:
        return ModelCard()
