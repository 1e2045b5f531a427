"""nnU-Net v2's commands under their own names: same flags, same folders and files, plus our own options.

Flags that have no meaning here are accepted and say so. Worker counts (``-np``, ``-npp`` ...) are upper limits: fewer
processes run where the memory would not suffice.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Command name -> the module of this folder that has it, and one line of help.
COMMANDS = {
    "nnUNetv2_convert_MSD_dataset": ("preparation", "as convert-msd"),
    "nnUNetv2_convert_old_nnUNet_dataset": ("preparation", "as convert-v1"),
    "nnUNetv2_extract_fingerprint": ("preparation", "as fingerprint"),
    "nnUNetv2_plan_experiment": ("preparation", "as plan"),
    "nnUNetv2_preprocess": ("preparation", "as preprocess"),
    "nnUNetv2_plan_and_preprocess": ("preparation", "fingerprint, plan and preprocess"),
    "nnUNetv2_train": ("training", "as train"),
    "nnUNetv2_predict": ("prediction", "as predict"),
    "nnUNetv2_predict_from_modelfolder": ("prediction", "as predict --model FOLDER"),
    "nnUNetv2_accumulate_crossval_results": ("choice", "as cross-validation"),
    "nnUNetv2_find_best_configuration": ("choice", "as find-best"),
    "nnUNetv2_ensemble": ("choice", "as ensemble"),
    "nnUNetv2_determine_postprocessing": ("choice", "as find-postprocessing"),
    "nnUNetv2_apply_postprocessing": ("choice", "as postprocess"),
    "nnUNetv2_evaluate_folder": ("evaluation", "as evaluate, with labels from dataset.json"),
    "nnUNetv2_evaluate_simple": ("evaluation", "as evaluate, with labels given by number"),
    "nnUNetv2_plot_overlay_pngs": ("evaluation", "as overlays"),
    "nnUNetv2_export_model_to_zip": ("sharing", "as export-model, several configurations in one file"),
    "nnUNetv2_install_pretrained_model_from_zip": ("sharing", "as import-model"),
    "nnUNetv2_download_pretrained_model_by_url": ("sharing", "as import-model with an address"),
    "nnUNetv2_move_plans_between_datasets": ("sharing", "as move-plans"),
    "nnUNetv2_preprocess_like_nnssl": ("unavailable", "says why it is not here"),
    "nnUNetv2_plan_like_dynamic": ("unavailable", "says why it is not here"),
    "nnUNetv2_train_pretrained": ("unavailable", "says why it is not here"),
}


def load_command(name: str) -> Any:
    """The command (`command.Command`) with a name of ``COMMANDS``; only its module is imported."""
    return import_module(f"{__package__}.{COMMANDS[name][0]}").COMMANDS[name]
