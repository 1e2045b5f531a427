from __future__ import annotations

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.architectures import ARCHITECTURES
from segautoconfiglib.planning.presets import ALIASES, PLANNERS, planner_preset


def test_short_names_cover_all_planners():
    assert sorted(ALIASES.values()) == sorted(PLANNERS)
    for alias, name in ALIASES.items():
        assert planner_preset(alias) is planner_preset(alias.upper()) is planner_preset(name)


def test_networks_are_known():
    assert {preset.network_class_name for preset in PLANNERS.values()} == set(ARCHITECTURES)


def test_plans_names_differ():
    assert len({preset.plans_name for preset in PLANNERS.values()}) == len(PLANNERS)


def test_budget_is_linear_in_memory():
    preset = planner_preset("resenc_l")
    assert preset.budget(3, 24) == 2100e6
    assert preset.budget(2, 12) == 190e6


def test_unknown_planner():
    with pytest.raises(UserError, match=r"Known: default, resenc, .*nnUNetPlannerResEncXL"):
        planner_preset("nnUNetPlannerResEncXXL")
