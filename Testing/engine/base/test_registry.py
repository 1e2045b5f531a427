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
    assert caught.value.hint == "Known: cross_entropy, dice."


def test_registering_changes_this_registry_alone() -> None:
    targets = {"dice": "a:b"}
    registry = Registry("loss", targets)
    registry.register("mine", "m:n")
    assert list(registry) == ["dice", "mine"]
    assert targets == {"dice": "a:b"}
