"""nnU-Net v1's commands under their own names and with their flags.

Each is translated into the words of a v2 command, which then runs: ``TaskXXX`` becomes ``DatasetXXX``, trainers of v1
become those of v2. The log shows the translation.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Command name -> the module of this folder that has it, and one line of help.
COMMANDS = {
    "nnUNet_convert_decathlon_task": ("preparation", "as nnUNetv2_convert_MSD_dataset"),
    "nnUNet_plan_and_preprocess": ("preparation", "as nnUNetv2_plan_and_preprocess; converts the task first"),
    "nnUNet_plot_task_pngs": ("preparation", "as nnUNetv2_plot_overlay_pngs"),
    "nnUNet_train": ("training", "as nnUNetv2_train"),
    "nnUNet_train_DP": ("training", "as nnUNetv2_train -num_gpus"),
    "nnUNet_train_DDP": ("training", "as nnUNetv2_train -num_gpus"),
    "nnUNet_predict": ("prediction", "as nnUNetv2_predict; keeps what is there"),
    "nnUNet_ensemble": ("prediction", "as nnUNetv2_ensemble, then nnUNetv2_apply_postprocessing"),
    "nnUNet_evaluate_folder": ("prediction", "as nnUNetv2_evaluate_simple"),
    "nnUNet_find_best_configuration": ("choice", "as nnUNetv2_find_best_configuration"),
    "nnUNet_determine_postprocessing": ("choice", "as nnUNetv2_determine_postprocessing, of all folds"),
    "nnUNet_export_model_to_zip": ("sharing", "as nnUNetv2_export_model_to_zip"),
    "nnUNet_install_pretrained_model_from_zip": ("sharing", "as nnUNetv2_install_pretrained_model_from_zip"),
    "nnUNet_download_pretrained_model": ("sharing", "a published model by the name of its task"),
    "nnUNet_download_pretrained_model_by_url": ("sharing", "as nnUNetv2_download_pretrained_model_by_url"),
    "nnUNet_print_available_pretrained_models": ("sharing", "the published models"),
    "nnUNet_print_pretrained_model_info": ("sharing", "what one of them segments"),
    "nnUNet_change_trainer_class": ("sharing", "says why it is not needed"),
}


def load_command(name: str) -> Any:
    """The command with a name of ``COMMANDS``; only its module is imported."""
    return import_module(f"{__package__}.{COMMANDS[name][0]}").COMMANDS[name]
