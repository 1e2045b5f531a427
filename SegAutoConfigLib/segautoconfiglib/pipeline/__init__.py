"""The whole system: one function per user command, calling the stages in their order.

raw dataset -> verify -> fingerprint -> plan -> preprocess -> train -> predict the held-out cases -> evaluate

Each function takes a :class:`~segautoconfiglib.base.context.Context` (workspace, reporter, cancel token) first and can
be called from Python as well as from the command line. Stages are imported when they run, torch only by those that
need it; the names below are found when they are asked for, so that a short command imports only its own part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segautoconfiglib.pipeline.choice import ensemble, find_best
    from segautoconfiglib.pipeline.chosen import choice_file, predict_choice
    from segautoconfiglib.pipeline.jobs import default_configuration
    from segautoconfiglib.pipeline.making import convert_v1, from_csv, from_folder, from_masks, repair, split
    from segautoconfiglib.pipeline.membership import add_cases, remove_cases
    from segautoconfiglib.pipeline.move import move_plans
    from segautoconfiglib.pipeline.options import Fold, OverlayOptions, PlanOptions, TrainOptions
    from segautoconfiglib.pipeline.overlays import draw_dataset, draw_predictions, draw_preprocessed
    from segautoconfiglib.pipeline.postprocessing import find_postprocessing, postprocess
    from segautoconfiglib.pipeline.prediction import evaluate, find_model, predict
    from segautoconfiglib.pipeline.preparation import (
        FINGERPRINT_FILE,
        convert_msd,
        fingerprint,
        load_plans,
        plan,
        plans_files,
        preprocess,
        verify,
    )
    from segautoconfiglib.pipeline.training import train
    from segautoconfiglib.pipeline.validated import cross_validation, named_models, validated_models
    from segautoconfiglib.pipeline.validation import validate

_MODULES = {
    "choice": ("ensemble", "find_best"),
    "chosen": ("choice_file", "predict_choice"),
    "postprocessing": ("find_postprocessing", "postprocess"),
    "validated": ("cross_validation", "named_models", "validated_models"),
    "making": ("convert_v1", "from_csv", "from_folder", "from_masks", "repair", "split"),
    "membership": ("add_cases", "remove_cases"),
    "move": ("move_plans",),
    "options": ("Fold", "OverlayOptions", "PlanOptions", "TrainOptions"),
    "overlays": ("draw_dataset", "draw_predictions", "draw_preprocessed"),
    "prediction": ("evaluate", "find_model", "predict"),
    "preparation": (
        "FINGERPRINT_FILE",
        "convert_msd",
        "fingerprint",
        "load_plans",
        "plan",
        "plans_files",
        "preprocess",
        "verify",
    ),
    "jobs": ("default_configuration",),
    "training": ("train",),
    "validation": ("validate",),
}

__all__ = [
    "FINGERPRINT_FILE",
    "Fold",
    "OverlayOptions",
    "PlanOptions",
    "TrainOptions",
    "add_cases",
    "choice_file",
    "convert_msd",
    "convert_v1",
    "cross_validation",
    "default_configuration",
    "draw_dataset",
    "draw_predictions",
    "draw_preprocessed",
    "ensemble",
    "evaluate",
    "find_best",
    "find_model",
    "find_postprocessing",
    "fingerprint",
    "from_csv",
    "from_folder",
    "from_masks",
    "load_plans",
    "move_plans",
    "named_models",
    "plan",
    "plans_files",
    "postprocess",
    "predict",
    "predict_choice",
    "preprocess",
    "remove_cases",
    "repair",
    "split",
    "train",
    "validate",
    "validated_models",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
