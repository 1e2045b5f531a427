from __future__ import annotations

import sys

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.registry import Registry


def test_the_module_is_imported_on_get_only() -> None:
    sys.modules.pop("colorsys", None)
    registry = Registry("colour space", {"hsv": "colorsys:rgb_to_hsv"})
    assert "hsv" in registry
    assert "colorsys" not in sys.modules
    assert registry.get("hsv")(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)


def test_an_unknown_name_lists_the_known_ones() -> None:
    registry = Registry("loss", {"dice": "a:b"})
    registry.register("cross_entropy", "c:d")
    with pytest.raises(UserError, match="Unknown loss 'topk'") as caught:
        registry.get("topk")
    assert caught.value.hint.startswith("Known: cross_entropy, dice. ")
    assert "--plugin" in caught.value.hint


def test_objects_and_texts_and_what_is_made_of_them() -> None:
    registry = Registry(
        "colour", {"red": 3, "hsv": "colorsys:rgb_to_hsv"}, lambda name, value, factor=1: value * factor
    )
    registry.register("blue", 4, factor=2)
    assert [registry.get(name) for name in ("red", "blue")] == [3, 8]
    with pytest.raises(UserError, match="The colour 'red' exists already"):
        registry.register("red", 1)
    registry.remove("blue")
    assert "blue" not in registry


def test_registering_changes_this_registry_alone() -> None:
    targets = {"dice": "a:b"}
    registry = Registry("loss", targets)
    registry.register("mine", "m:n")
    assert list(registry) == ["dice", "mine"]
    assert targets == {"dice": "a:b"}
