"""The whole system: one function per user command, calling the stages in their order.

raw dataset -> verify -> fingerprint -> plan -> preprocess -> train -> predict the held-out cases -> evaluate

Each function takes a :class:`~segautoconfiglib.base.context.Context` (workspace, reporter, cancel token) first and can
be called from Python as well as from the command line. Stages are imported when they run, torch only by those that
need it; the names below are found when they are asked for, so that a short command imports only its own part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segautoconfiglib.pipeline.membership import add_cases, remove_cases
    from segautoconfiglib.pipeline.options import Fold, PlanOptions, TrainOptions
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
    from segautoconfiglib.pipeline.training import default_configuration, train, validate

_MODULES = {
    "membership": ("add_cases", "remove_cases"),
    "options": ("Fold", "PlanOptions", "TrainOptions"),
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
    "training": ("default_configuration", "train", "validate"),
}

__all__ = [
    "FINGERPRINT_FILE",
    "Fold",
    "PlanOptions",
    "TrainOptions",
    "add_cases",
    "convert_msd",
    "default_configuration",
    "evaluate",
    "find_model",
    "fingerprint",
    "load_plans",
    "plan",
    "plans_files",
    "predict",
    "preprocess",
    "remove_cases",
    "train",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
