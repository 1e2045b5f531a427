"""What the names in a recipe stand for. Code is imported only when it is used; plug-ins register further names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.registry import Registry


def _in_module(module: str, *names: str) -> dict[str, str]:
    return {name: f"segautoconfiglib.training.{module}:{name}" for name in names}


#: ``loss(logits, target, settings)``, see :mod:`segautoconfiglib.training.losses`.
LOSSES = Registry("loss", _in_module("losses", "dice_ce", "ce", "dice", "topk", "dice_topk"))

#: ``optimizer(parameters, learning_rate, **options)``; options are those of momentum, betas and weight_decay that the
#: recipe gives.
OPTIMIZERS = Registry("optimizer", _in_module("optimizers", "sgd", "adam", "adamw", "adamw_amsgrad", "adan", "muon"))

#: A :class:`~segautoconfiglib.training.schedules.Schedule`, or a function from the share of the run that is done (0 to
#: 1) to a factor of the learning rate.
SCHEDULES = Registry(
    "learning-rate schedule",
    {
        name: f"segautoconfiglib.training.schedules:{name.upper()}"
        for name in ("poly", "cosine", "poly_steps", "cosine_steps", "poly_warmup", "cosine_warmup")
    },
)

#: An :class:`~segautoconfiglib.training.augment.Augmentation`, or a function that makes the list of transforms for a
#: :class:`~segautoconfiglib.training.patch.PatchGeometry`.
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "default": "segautoconfiglib.training.augment:DEFAULT",
        "fast": "segautoconfiglib.training.augment:FAST",
        "none": "segautoconfiglib.training.augment:NONE",
        "da5": "segautoconfiglib.training.augment_strong:DA5",
    },
)


def _own_recipe(name: str, recipe: Any = None, *, like: str = "nnUNetTrainer", **values: Any) -> Any:
    """The recipe of a plug-in's trainer: as given, or that of another trainer with other values."""
    from segautoconfiglib.planning.recipe import with_usual_rate
    from segautoconfiglib.planning.trainer_names import BASE, recipe_from_trainer_name

    if name == BASE:
        raise UserError(f"The trainer {name!r} exists already.", f"Give yours another name: {BASE}Mine.")
    if recipe is not None:
        return recipe
    start = recipe_from_trainer_name(like)
    return replace(start, **with_usual_rate(start, values), trainer_name=name)


#: Trainers of plug-ins: a :class:`~segautoconfiglib.planning.recipe.Recipe`, or a function without arguments that makes
#: one. nnU-Net's names need no entry, see :mod:`segautoconfiglib.planning.trainer_names`.
RECIPES = Registry("trainer", {}, _own_recipe)
