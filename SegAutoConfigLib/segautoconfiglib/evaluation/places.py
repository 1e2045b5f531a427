"""Where the cross-validation of a model lies, and what its files are called (nnU-Net's names)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segautoconfiglib.models.folder import Fold, ModelFolder

SUMMARY, VALIDATION = "summary.json", "validation"
POSTPROCESSING_JSON, POSTPROCESSING_PICKLE, POSTPROCESSED = "postprocessing.json", "postprocessing.pkl", "postprocessed"


def accumulated_folder(model: ModelFolder, folds: Sequence[Fold]) -> Path:
    """Where the cross-validation of a model lies (nnU-Net's name)."""
    return model.path / f"crossval_results_folds_{folds_text(folds)}"


def folds_text(folds: Sequence[Fold]) -> str:
    """Folds as nnU-Net puts them into names: "0_1_2"."""
    return "_".join(map(str, folds))
