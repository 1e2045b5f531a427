"""nnU-Net's trainer names as recipes: ``nnUNetTrainer`` followed by words, each of which stands for some values.

nnU-Net has a class for every combination that somebody needed; here all words combine
(``nnUNetTrainerDA5_10epochs_NoMirroring``). Further words name this program's own choices
(``nnUNetTrainer_adamw_cosine``), so that every recipe has a name that can be read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.planning.architectures import ARCHITECTURES, Architecture, with_choices
from segautoconfiglib.planning.choices import AUGMENTATIONS, LOSSES, OPTIMIZERS, RECIPES, SCHEDULES
from segautoconfiglib.planning.recipe import (
    LENGTH_FIELDS,
    OVERSAMPLING_KINDS,
    UMAMBA_NETWORKS,
    Recipe,
    with_usual_rate,
)

BASE = "nnUNetTrainer"


def _adam(optimizer: str, learning_rate: float) -> dict[str, Any]:
    """nnU-Net's trainers keep its weight decay with every optimizer."""
    return {"optimizer": optimizer, "learning_rate": learning_rate, "weight_decay": TRAINING.weight_decay}


#: nnU-Net's words and the values they set.
NNUNET_WORDS: dict[str, dict[str, Any]] = {
    "NoMirroring": {"mirror": False},
    "onlyMirror01": {"mirror": "zy"},
    "NoDA": {"augmentation": "none", "mirror": False},
    "DASegOrd0": {"label_order": 0},
    "noDummy2DDA": {"dummy_2d": False},
    "DA5": {"augmentation": "da5"},
    "DA5ord0": {"augmentation": "da5", "image_order": 0, "label_order": 0},
    "DA5Segord0": {"augmentation": "da5", "label_order": 0},
    "CELoss": {"loss": "ce"},
    "DiceLoss": {"loss": "dice"},
    "DiceCELoss": {"loss": "dice_ce"},
    "noSmooth": {"dice_smoothing": 0.0},
    "Topk10Loss": {"loss": "topk", "topk_share": 0.1},
    "Topk10LossLS01": {"loss": "topk", "topk_share": 0.1, "label_smoothing": 0.1},
    "DiceTopK10Loss": {"loss": "dice_topk", "topk_share": 0.1},
    "CosAnneal": {"schedule": "cosine"},
    "warmup": {"warmup_epochs": TRAINING.warmup_epochs},
    "BN": {"norm": "batch"},
    "UMambaBot": {"network": "UMambaBot"},
    "UMambaEnc": {"network": "UMambaEnc"},
    "UMambaEncNoAMP": {"network": "UMambaEnc", "mixed_precision": False},
    "NoDeepSupervision": {"deep_supervision": False},
    "Adam": _adam("adamw_amsgrad", 1e-2),
    "Adam1en3": _adam("adamw_amsgrad", 1e-3),
    "Adam3en4": _adam("adamw_amsgrad", 3e-4),
    "VanillaAdam": _adam("adam", 1e-2),
    "VanillaAdam1en3": _adam("adam", 1e-3),
    "VanillaAdam3en4": _adam("adam", 3e-4),
    "Adan": _adam("adan", 1e-2),
    "Adan1en3": _adam("adan", 1e-3),
    "Adan3en4": _adam("adan", 3e-4),
    "Adan1en1": _adam("adan", 1e-1),
    "AdanCosAnneal": {**_adam("adan", 1e-2), "schedule": "cosine"},
    "probabilisticOversampling": {"oversampling": "probabilistic_rounded"},
    "probabilisticOversampling_033": {"oversampling": "probabilistic", "foreground_share": 0.33},
    "probabilisticOversampling_010": {"oversampling": "probabilistic", "foreground_share": 0.1},
    "BS8": {"batch_size": 8},
    "Benchmark": {"benchmark": True},
    "noDataLoading": {"synthetic_batch": True},
}

#: Own words for what nnU-Net's words or a plug-in's trainer have changed.
BACK_WORDS: dict[str, dict[str, Any]] = {
    "Mirroring": {"mirror": True},
    "Dummy2DDA": {"dummy_2d": True},
    "DeepSupervision": {"deep_supervision": True},
    "NoAMP": {"mixed_precision": False},
    "AMP": {"mixed_precision": True},
    "lastOversampling": {"oversampling": "last"},
    "noBenchmark": {"benchmark": False},
    "DataLoading": {"synthetic_batch": False},
    "noClip": {"gradient_clip": None},
}

#: Names that are no ``nnUNetTrainer`` with words.
ALIASES = {"nnUNet_Trainer_BS8": "nnUNetTrainer_BS8"}

_LENGTHS = ("1epoch", *(f"{count}epochs" for count in (5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000)))

#: All trainers that nnU-Net, and U-Mamba's copy of it, ship and that are read as recipes.
NNUNET_NAMES = (
    BASE,
    *(f"{BASE}_{length}" for length in _LENGTHS),
    *(f"{BASE}_{epochs}epochs_NoMirroring" for epochs in (250, 2000, 4000, 8000)),
    *(
        f"{BASE}{ending}"
        for ending in (
            *("NoMirroring", "_onlyMirror01", "_onlyMirror01_1500ep", "_onlyMirror01_DASegOrd0", "_onlyMirror01_DA5"),
            *("_DASegOrd0", "_DASegOrd0_NoMirroring", "NoDA", "_noDummy2DDA"),
            *("DA5", "DA5ord0", "DA5Segord0", "DA5_10epochs"),
            *("CELoss", "CELoss_5epochs", "DiceLoss", "DiceCELoss_noSmooth"),
            *("Topk10Loss", "Topk10LossLS01", "DiceTopK10Loss"),
            *("CosAnneal", "_warmup", "BN", "NoDeepSupervision"),
            *("UMambaBot", "UMambaEnc", "UMambaEncNoAMP"),
            *("Adam", "Adam1en3", "Adam3en4", "VanillaAdam", "VanillaAdam1en3", "VanillaAdam3en4"),
            *("Adan", "Adan1en3", "Adan3en4", "Adan1en1", "AdanCosAnneal"),
            *("_probabilisticOversampling", "_probabilisticOversampling_033", "_probabilisticOversampling_010"),
            *("Benchmark_5epochs", "Benchmark_5epochs_noDataLoading"),
        )
    ),
    *ALIASES,
)

#: Trainers of nnU-Net that are no recipes: a pattern of their names, and why.
NOT_APPLICABLE = (
    (r"_?(nnUNet_)?Primus.*", "it trains a transformer (Primus), and this program has no transformer networks"),
    (
        r"(Dynamic)?PretrainedTrainer.*",
        "it fine-tunes networks that were pre-trained without labels (nnssl), whose checkpoints are not read here",
    ),
)

#: Own words that are followed by a value.
_PREFIXES = {
    "topk_share": "hardest",
    "label_smoothing": "smooth",
    "dice_smoothing": "dicesmooth",
    "learning_rate": "lr",
    "momentum": "momentum",
    "betas": "betas",
    "weight_decay": "decay",
    "warmup_epochs": "warmup",
    "gradient_clip": "clip",
    "foreground_share": "foreground",
    "batch_size": "BS",
    "average_weights": "average",
    "mirror": "mirror",
    "image_order": "imageOrd",
    "label_order": "labelOrd",
    "norm": "norm",
    "network": "network",
}
_WHOLE = frozenset(("warmup_epochs", "batch_size", "image_order", "label_order"))
_TEXT = frozenset(("mirror", "norm", "network"))
#: Fields that may leave the choice to the plans or the optimizer, or do without: their word ends with "None".
_OPTIONAL = frozenset(("momentum", "betas", "weight_decay", "norm", "batch_size", "average_weights", "network"))
#: Fields that do not belong to a name: a training may be made longer, and seeds are tried out.
_UNNAMED = frozenset((*LENGTH_FIELDS, "trainer_name", "seed"))


def recipe_from_trainer_name(name: str) -> Recipe:
    """The recipe that a trainer's name stands for.

    Args:
        name: ``nnUNetTrainer``, or a plug-in's trainer, followed by words in any combination: nnU-Net's, ``<N>epochs``,
            or those that `recipe_name` makes.

    Raises:
        UserError: the name is no such combination; names what is near, or why nnU-Net's trainer does not fit here.
        ProblemsError: the words contradict each other.
    """
    recipe, changes, _ = _read(name)
    return replace(recipe, **changes, trainer_name=name)


def as_trained(architecture: Architecture, trainer: str) -> Architecture:
    """The network that a trainer makes of the one in the plans, which need not name it (nnU-Net's BN, U-Mamba's).

    Args:
        architecture: Of the plans.
        trainer: Its name; one that is not known here leaves the network as it is.
    """
    try:
        recipe = recipe_from_trainer_name(trainer)
    except UserError:
        return architecture
    norm = recipe.norm if "norm_op" in architecture.arch_kwargs else None
    return with_choices(architecture, recipe.network, norm)


def named_fields(name: str) -> frozenset[str]:
    """The fields of the recipe that a trainer's name decides about. Raises: UserError: unknown name.

    The learning rate that goes with a network is not decided about: another optimizer has another one.
    """
    recipe, _, decided = _read(name)
    plain = replace(Recipe(), **with_usual_rate(Recipe(), {"network": recipe.network}))
    different = {field for field in _every_field() if getattr(recipe, field) != getattr(plain, field)}
    return frozenset(different | decided | ({"network"} if recipe.network else set()))


def _read(name: str) -> tuple[Recipe, dict[str, Any], set[str]]:
    """The recipe that a name starts with, what its words change, and the fields that they decide about.

    Raises:
        UserError: unknown name.
    """
    recipe, rest = _started(name)
    words = _words()
    pattern = re.compile(rf"_?({'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))}|[^_]+)(?=_|$)")
    changes: dict[str, Any] = {}
    decided: set[str] = set()
    while rest:
        found = pattern.match(rest)
        word = found[1] if found else ""
        meaning = words.get(word) or _with_value(word)
        if found is None or not meaning or not (rest.startswith("_") or not changes):
            raise _unknown(name)
        changes |= with_usual_rate(_so_far(recipe, changes), meaning)
        decided |= {*meaning, *(("learning_rate",) if "optimizer" in meaning else ())}
        rest = rest[found.end() :]
    return recipe, changes, decided


def _so_far(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with what decides about the learning rate; all of the changes might not fit each other yet."""
    return replace(recipe, **{key: changes[key] for key in ("network", "optimizer", "learning_rate") if key in changes})


def _started(name: str) -> tuple[Recipe, str]:
    """The recipe that the name starts with, and the words after it."""
    for pattern, reason in NOT_APPLICABLE:
        if name not in RECIPES and re.fullmatch(pattern, name):
            raise UserError(
                f"The trainer {name} is not applicable: {reason}.",
                "Use nnUNetTrainer with a residual encoder (--planner resenc_l), or nnU-Net itself.",
            )
    full = ALIASES.get(name, name)
    for start in sorted(RECIPES, key=len, reverse=True):
        if f"{full}_".startswith(f"{start}_"):
            made = RECIPES.get(start)
            return (made if isinstance(made, Recipe) else made()), full.removeprefix(start)
    if full.startswith(BASE):
        return Recipe(), full.removeprefix(BASE)
    raise _unknown(name)


def _words() -> dict[str, dict[str, Any]]:
    """All words without a value: nnU-Net's, and the registered names, plug-ins' among them."""
    networks = [name.rpartition(".")[2] for name in ARCHITECTURES]
    own: dict[str, dict[str, Any]] = {
        **{name: {"loss": name} for name in LOSSES},
        **{f"loss{name}": {"loss": name} for name in LOSSES},
        **{f"network{name}": {"network": name} for name in networks if name not in UMAMBA_NETWORKS},
        **{name: {"optimizer": name} for name in OPTIMIZERS},
        **{name: {"schedule": name} for name in SCHEDULES},
        **{f"aug{name}": {"augmentation": name} for name in AUGMENTATIONS},
        **{kind: {"oversampling": kind} for kind in OVERSAMPLING_KINDS if kind != "last"},
    }
    return {**own, **BACK_WORDS, **NNUNET_WORDS}


def _with_value(word: str) -> dict[str, Any]:
    """The meaning of a word such as ``250epochs`` or ``lr0.003``; empty if it has none."""
    epochs = re.fullmatch(r"([1-9][0-9]*)ep(ochs?)?", word)
    if epochs:
        return {"epochs": int(epochs[1])}
    for field, prefix in _PREFIXES.items():
        if word.startswith(prefix) and len(word) > len(prefix):
            try:
                return {field: _value(field, word.removeprefix(prefix))}
            except ValueError:
                continue
    return {}


def _value(field: str, text: str) -> Any:
    if field in _OPTIONAL and text == "None":
        return None
    if field == "mirror" and text.isdigit():
        return tuple(map(int, text))
    if field in _TEXT:
        return text
    if field in _WHOLE:
        return int(text)
    if field == "betas":
        return tuple(float(part) for part in re.split("(?<!e)-", text))
    return float(text)


def recipe_name(base: str, recipe: Recipe) -> str:
    """A name for a recipe that was made by changing the one that ``base`` stands for.

    It is ``base`` where nothing (but length and seed) was changed, else nnU-Net's name for the same values if it has
    one, else ``base`` with a word for each change: ``nnUNetTrainer_adamw_cosine``. `recipe_from_trainer_name` reads it.
    """
    start = recipe_from_trainer_name(base)
    if _same(start, recipe):
        return base
    if all(getattr(start, field) == getattr(Recipe(), field) for field in LENGTH_FIELDS):
        for name in NNUNET_NAMES:
            known = recipe_from_trainer_name(name)
            if known.epochs == TRAINING.epochs and _same(known, recipe):
                return name
    words = _words()
    name = ALIASES.get(base, base)
    if recipe.warmup_epochs >= start.epochs:  # the name alone must be long enough for it
        name, start = f"{name}_{recipe.epochs}epochs", replace(start, epochs=recipe.epochs)
    for field in _named_fields():
        if getattr(start, field) != getattr(recipe, field):
            fitting = {word: changes for word, changes in words.items() if not _runs_on(name, word, words)}
            word, changes = _word(field, recipe, fitting)
            name, start = f"{name}_{word}", replace(start, **with_usual_rate(start, changes))
    return name


def _runs_on(name: str, word: str, words: Iterable[str]) -> bool:
    """Whether a word behind a name would be read as the end of a longer one: ``ce`` behind ``dice``."""
    return any(longer.endswith(f"_{word}") and f"{name}_{word}".endswith(longer) for longer in words)


def _every_field() -> list[str]:
    return [entry.name for entry in fields(Recipe) if entry.name != "trainer_name"]


def _named_fields() -> list[str]:
    """The words of a network and of an optimizer set their usual learning rate, so the rate comes after them."""
    return [field for field in _every_field() if field not in _UNNAMED]


def _same(one: Recipe, other: Recipe) -> bool:
    return all(getattr(one, field) == getattr(other, field) for field in _named_fields())


def _word(field: str, recipe: Recipe, words: Mapping[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    """A word that gives a field the recipe's value, and what it sets: of several the one that sets most rightly."""
    value = getattr(recipe, field)
    right = [
        word
        for word, changes in words.items()
        if field in changes and all(getattr(recipe, key) == wanted for key, wanted in changes.items())
    ]
    if right:
        word = max(right, key=lambda word: len(words[word]))
        return word, words[word]
    joint = "" if field == "mirror" else "-"
    text = joint.join(map(_number, value)) if isinstance(value, tuple) else _number(value)
    return _PREFIXES[field] + text, {field: value}


def _number(value: object) -> str:
    """A number as short as it can be read back; other values as they are written."""
    return str(value).removesuffix(".0")


def _unknown(name: str) -> UserError:
    known = (*RECIPES, *NNUNET_NAMES)
    near = get_close_matches(name, known, n=3, cutoff=0.7)
    similar = f"Similar: {', '.join(near)}. " if near else ""
    return UserError(
        f"Unknown trainer {name!r}.",
        f"{similar}Known: nnUNetTrainer, or with any of these words appended, joined by underscores: <N>epochs, "
        f"{', '.join(NNUNET_WORDS)} (such as nnUNetTrainer_250epochs_NoMirroring). "
        "If it is of a plug-in, name that: --plugin FILE.",
        "plugin",
    )
