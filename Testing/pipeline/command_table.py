"""Every command of nnU-Net v2 (2.8.1), v1 (1.7.0) and TotalSegmentator (2.18.0): its flags, what becomes of each.

``docs/commands.md`` is made from this table: ``python Testing/pipeline/command_table.py --write``. test_commands.py
compares both with the parsers.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

WORKS, ACCEPTED, NOT_APPLICABLE = "works", "accepted", "not applicable"
STATUS = {"+": WORKS, "o": ACCEPTED, "-": NOT_APPLICABLE}
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "commands.md"

#: One block per command: its name and what it does here, then a line per flag or argument:
#: status (+ works, o accepted without effect, - not applicable) | flag | nnU-Net's default | note.
#: A default in brackets is nnU-Net's where ours is another one, which the note tells.
V2 = """
nnUNetv2_extract_fingerprint: as `fingerprint`
+ | -d | required | numbers or names
+ | -fpe | DatasetFingerprintExtractor | there is only this one; others are refused
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | --verify_dataset_integrity | |
+ | --clean | | measures again
o | --verbose | | everything is reported anyway
o | --no_pbar | | `--events jsonl` is for programs

nnUNetv2_plan_experiment: as `plan`
+ | -d | required | numbers or names
+ | -pl | ExperimentPlanner | also ResEncUNetPlanner, nnUNetPlannerResEncM, L, XL, own presets and plug-ins
+ | -gpu_memory_target | the planner's |
+ | -preprocessor_name | DefaultPreprocessor | there is only this one; others are refused
+ | -overwrite_target_spacing | none |
+ | -overwrite_plans_name | the planner's |

nnUNetv2_preprocess: as `preprocess`
+ | -d | required | numbers or names
+ | -plans_name | nnUNetPlans |
+ | -c | 2d 3d_fullres 3d_lowres | those that are not planned are left out
+ | -np | (8 4 8) | as many as cores and memory allow; one number, or one per configuration, as upper limit
o | --verbose | | everything is reported anyway
o | --no_pbar | | `--events jsonl` is for programs

nnUNetv2_plan_and_preprocess: fingerprint, plan and preprocess
+ | -d | required | numbers or names
+ | -fpe | DatasetFingerprintExtractor | there is only this one; others are refused
+ | -npfp | (8) | as many as cores and memory allow; N is the upper limit
+ | --verify_dataset_integrity | |
+ | --no_pp | | only fingerprint and plan
+ | --clean | | measures again
+ | -pl | ExperimentPlanner |
+ | -gpu_memory_target | the planner's |
+ | -preprocessor_name | DefaultPreprocessor | there is only this one; others are refused
+ | -overwrite_target_spacing | none |
+ | -overwrite_plans_name | the planner's |
+ | -c | 2d 3d_fullres 3d_lowres | those that are not planned are left out
+ | -np | (8 4 8) | as many as cores and memory allow; one number, or one per configuration, as upper limit
o | --verbose | | everything is reported anyway
o | --no_pbar | | `--events jsonl` is for programs

nnUNetv2_train: as `train`; a fold that was trained is not overwritten without `--overwrite`
+ | DATASET | required | number or name
+ | CONFIGURATION | required |
+ | FOLD | required | 0 to 4, or all
+ | -tr | nnUNetTrainer | a recipe; nnU-Net's names but those of transformers, and U-Mamba's, in any combination
+ | -p | nnUNetPlans |
+ | -pretrained_weights | none | also other heads and channels, with `--adapt`
+ | -num_gpus | 1 |
+ | --npz | | probabilities of the held-out cases
+ | --c | | continues
+ | --val | | validation alone
+ | --val_best | | writes to `validation_best`
+ | --disable_checkpointing | | keeps nothing, so there is no validation
+ | -device | (cuda) | the fastest there is

nnUNetv2_predict: as `predict`
+ | -i | required |
+ | -o | required |
+ | -d | required | number or name
+ | -c | required | 3d_cascade_fullres predicts the lower stage by itself
+ | -p | nnUNetPlans |
+ | -tr | nnUNetTrainer | the class is not needed
+ | -f | (0 1 2 3 4) | those of them that were trained, with a warning
+ | -step_size | 0.5 |
+ | --disable_tta | |
o | --verbose | | everything is reported anyway
+ | --save_probabilities | |
+ | --continue_prediction | |
+ | -chk | checkpoint_final.pth |
+ | -npp | (3) | 0: images are read one by one; else the next one is read meanwhile
o | -nps | 3 | export needs little time and memory here
+ | -prev_stage_predictions | none |
+ | -num_parts | 1 |
+ | -part_id | 0 |
+ | -device | (cuda) | the fastest there is
o | --disable_progress_bar | | `--events jsonl` is for programs
o | --not_on_device | | sums are kept where they fit

nnUNetv2_predict_from_modelfolder: as `predict --model`
+ | -i | required |
+ | -o | required |
+ | -m | required |
+ | -f | (0 1 2 3 4) | those of them that were trained, with a warning
+ | -step_size | 0.5 |
+ | --disable_tta | |
o | --verbose | | everything is reported anyway
+ | --save_probabilities | |
+ | --continue_prediction | |
+ | --c | | the same
+ | -chk | checkpoint_final.pth |
+ | -npp | (3) | 0: images are read one by one; else the next one is read meanwhile
o | -nps | 3 | export needs little time and memory here
+ | -prev_stage_predictions | none |
+ | -device | (cuda) | the fastest there is
o | --disable_progress_bar | | `--events jsonl` is for programs
o | --not_on_device | | sums are kept where they fit

nnUNetv2_find_best_configuration: as `find-best`
+ | DATASET | required | number or name
+ | -p | nnUNetPlans |
+ | -c | 2d 3d_fullres 3d_lowres 3d_cascade_fullres | those that are not planned are left out
+ | -tr | nnUNetTrainer |
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | -f | 0 1 2 3 4 |
+ | --disable_ensembling | |
+ | --no_overwrite | | keeps what is newer than the predictions

nnUNetv2_accumulate_crossval_results: as `cross-validation`
+ | DATASET | required | number or name
+ | -c | required |
+ | -o | none |
+ | -f | 0 1 2 3 4 |
+ | -p | nnUNetPlans |
+ | -tr | nnUNetTrainer |

nnUNetv2_determine_postprocessing: as `find-postprocessing`
+ | -i | required |
+ | -ref | required |
o | -plans_json | in -i | not needed
+ | -dataset_json | in -i |
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | --remove_postprocessed | |

nnUNetv2_apply_postprocessing: as `postprocess`
+ | -i | required |
+ | -o | required |
+ | -pp_pkl_file | required | .pkl (read without running code) or .json
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
o | -plans_json | in -i | not needed
+ | -dataset_json | in -i |

nnUNetv2_ensemble: as `ensemble`
+ | -i | required |
+ | -o | required | plans.json is written, too
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | --save_npz | |

nnUNetv2_evaluate_folder: as `evaluate`, with tables per class and case
+ | GT_FOLDER | required |
+ | PRED_FOLDER | required |
+ | -djfile | required |
o | -pfile | required | not needed
+ | -o | PRED_FOLDER/summary.json |
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | --chill | | the missing cases are named

nnUNetv2_evaluate_simple: as `evaluate`, with labels given by number
+ | GT_FOLDER | required |
+ | PRED_FOLDER | required |
+ | -l | required |
+ | -il | none |
+ | -o | PRED_FOLDER/summary.json |
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | --chill | | the missing cases are named

nnUNetv2_convert_old_nnUNet_dataset: as `convert-v1`
+ | INPUT_FOLDER | required |
+ | OUTPUT_DATASET_NAME | required |

nnUNetv2_convert_MSD_dataset: as `convert-msd`
+ | -i | required |
+ | -overwrite_id | none |
+ | -np | (8) | as many as cores and memory allow; N is the upper limit

nnUNetv2_plot_overlay_pngs: as `overlays`
+ | -d | required | number or name
+ | -o | required |
+ | -np | (8) | as many as cores and memory allow; N is the upper limit
+ | -channel_idx | 0 |
+ | --use_raw | |
+ | -p | nnUNetPlans |
+ | -c | 3d_fullres or 2d |
+ | -overlay_intensity | 0.6 |

nnUNetv2_download_pretrained_model_by_url: as `import-model`
+ | URL | required | http or https

nnUNetv2_install_pretrained_model_from_zip: as `import-model`; checked, and nothing replaced without `--overwrite`
+ | ZIP | required | also of v1

nnUNetv2_export_model_to_zip: as `export-model`
+ | -d | required | number or name
+ | -o | required |
+ | -c | (3d_lowres 3d_fullres 2d 3d_cascade_fullres) | all that were trained
+ | -tr | nnUNetTrainer |
+ | -p | nnUNetPlans |
+ | -f | (0 1 2 3 4) | all that were trained
+ | -chk | checkpoint_final.pth |
+ | --not_strict | |
+ | --exp_cv_preds | |

nnUNetv2_move_plans_between_datasets: as `move-plans`
+ | -s | required |
+ | -t | required |
+ | -sp | required |
+ | -tp | as -sp |

nnUNetv2_preprocess_like_nnssl: not applicable: for self-supervised transformers (nnssl), which there are none of here
- | -d | required |
- | -n | |
- | --pretraining_name | |
- | -pc | |
- | --pretrained_checkpoint | |
- | -am | default_nnunet |
- | --adaptation_mode | default_nnunet |
- | -os | |
- | --override_spacing | |
- | -np | 4 |
- | --verbose | |
- | --overwrite_pp | |

nnUNetv2_plan_like_dynamic: not applicable: for self-supervised transformers (nnssl), which there are none of here
- | -d | required |
- | -n | |
- | -pc | |
- | -pl | nnUNetPlans |
- | --plans_identifier | nnUNetPlans |
- | -np | 4 |
- | --verbose | |
- | --overwrite_pp | |

nnUNetv2_train_pretrained: not applicable: for self-supervised transformers (nnssl), which there are none of here
- | DATASET | required |
- | CONFIGURATION | required |
- | FOLD | required |
- | -tr | PretrainedTrainer |
- | -p | required |
- | --from_scratch | |
- | -num_gpus | 1 |
- | --npz | |
- | --c | |
- | --val | |
- | --val_best | |
- | --disable_checkpointing | |
- | -device | cuda |
- | -overwrite_ckpt_path | |
"""

V1 = """
nnUNet_convert_decathlon_task: as nnUNetv2_convert_MSD_dataset
+ | -i | required |
+ | -p | (8) | as many as cores and memory allow; N is the upper limit
+ | -output_task_id | none |

nnUNet_plan_and_preprocess: as nnUNetv2_plan_and_preprocess; a task in nnUNet_raw_data is converted first
+ | -t | required | numbers or names of tasks
+ | -pl3d | ExperimentPlanner3D_v21 | also ..._11GB and other sizes, ExperimentPlanner3DFabiansResUNet_v21, None
+ | -pl2d | ExperimentPlanner2D_v21 | None: no 2d
+ | -no_pp | |
+ | -tl | (8) | as many as cores and memory allow; both are needed as upper limits
+ | -tf | (8) | likewise
+ | --verify_dataset_integrity | |
+ | -overwrite_plans | none | a plans file of v2; models of v1 are imported first
+ | -overwrite_plans_identifier | none |

nnUNet_train: as nnUNetv2_train
+ | CONFIGURATION | required |
+ | TRAINER | required | names of v1 and v2
+ | TASK | required | number or name
+ | FOLD | required | 0 to 4, or all
+ | -val | | validation alone
+ | -c | | continues
+ | -p | nnUNetPlansv2.1 | stands for nnUNetPlans
o | --use_compressed_data | | preprocessed data are always compressed
o | --deterministic | | the same seed gives the same result on a CPU anyway
+ | --npz | | probabilities of the held-out cases
- | --find_lr | | the recipes' learning rates do not depend on the data
+ | --valbest | | as --val_best
o | --fp32 | | mixed precision is used on GPUs alone, where it is safe
o | --val_folder | validation_raw | the folder is `validation`
+ | --disable_saving | | keeps nothing, so there is no validation
o | --disable_postprocessing_on_folds | | postprocessing is found from all folds together
- | --disable_validation_inference | | Ctrl-C when the validation begins keeps everything of the training
o | --val_disable_overwrite | | validation is always made anew
o | --disable_next_stage_pred | | only held-out cases are predicted, and a cascade needs them
+ | -pretrained_weights | none |

nnUNet_train_DP: as nnUNetv2_train -num_gpus
+ | CONFIGURATION | required |
+ | TRAINER | required |
+ | TASK | required |
+ | FOLD | required |
+ | -gpus | (required) | 1
o | --dbs | | the batch is always shared among the GPUs

nnUNet_train_DDP: as nnUNetv2_train -num_gpus
+ | CONFIGURATION | required |
+ | TRAINER | required |
+ | TASK | required |
+ | FOLD | required |
o | --local_rank | none | torchrun tells it
o | --dbs | | the batch is always shared among the GPUs

nnUNet_predict: as nnUNetv2_predict; as in v1 finished cases are left out, and the model's postprocessing is applied
+ | -i | required |
+ | -o | required |
+ | -t | required | number or name
+ | -tr | nnUNetTrainerV2 |
+ | -ctr | nnUNetTrainerV2CascadeFullRes |
+ | -m | 3d_fullres |
+ | -p | nnUNetPlansv2.1 | of an imported v1 model, else nnUNetPlans
+ | -f | all that were trained |
+ | -z | | writes v2's .npz
+ | --save_npz | | the same
+ | -l | none | without it the lower stage is predicted first
+ | --part_id | 0 |
+ | --num_parts | 1 |
+ | --num_threads_preprocessing | (6) | 0: images are read one by one; else the next one is read meanwhile
o | --num_threads_nifti_save | 2 | export needs little time and memory here
+ | --disable_tta | |
+ | --overwrite_existing | |
o | --mode | normal | segmentations are always made the normal way
o | --all_in_gpu | None | sums are kept where they fit
+ | --step_size | 0.5 |
+ | -chk | model_final_checkpoint | stands for checkpoint_final.pth
o | --disable_mixed_precision | | sums are float32 anyway

nnUNet_ensemble: as nnUNetv2_ensemble, then nnUNetv2_apply_postprocessing
+ | -f | required |
+ | -o | required |
+ | -t | (2) | as many as cores and memory allow; N is the upper limit
+ | -pp | none | what was before lies in `not_postprocessed`
+ | --npz | |

nnUNet_find_best_configuration: as nnUNetv2_find_best_configuration
+ | -m | 2d 3d_lowres 3d_fullres 3d_cascade_fullres | those that are not planned are left out
+ | -t | required | numbers or names
+ | -tr | nnUNetTrainerV2 |
+ | -ctr | nnUNetTrainerV2CascadeFullRes |
+ | -pl | nnUNetPlansv2.1 |
+ | -f | 0 1 2 3 4 |
+ | --disable_ensembling | |
o | --disable_postprocessing | | it is written beside the choice, which works without it, too

nnUNet_determine_postprocessing: as nnUNetv2_accumulate_crossval_results, then nnUNetv2_determine_postprocessing
+ | -m | required |
+ | -t | required | number or name
+ | -tr | nnUNetTrainerV2 |
+ | -pl | nnUNetPlansv2.1 |
o | -val | validation_raw | the folder is `validation`

nnUNet_evaluate_folder: as nnUNetv2_evaluate_simple
+ | -ref | required |
+ | -pred | required |
+ | -l | required |

nnUNet_export_model_to_zip: as nnUNetv2_export_model_to_zip; the file has v2's form
+ | -t | required | number or name
+ | -o | required |
+ | -m | (3d_lowres 3d_fullres 2d 3d_cascade_fullres) | all that were trained
+ | -tr | nnUNetTrainerV2 |
o | -trc | nnUNetTrainerV2CascadeFullRes | the cascade has the same trainer; another one is exported by itself
+ | -pl | nnUNetPlansv2.1 |
+ | --disable_strict | |
+ | -f | (0 1 2 3 4) | all that were trained

nnUNet_install_pretrained_model_from_zip: as `import-model`
+ | ZIP | required | of v1 or v2

nnUNet_download_pretrained_model: downloads a published model and imports it
+ | TASK | required |

nnUNet_download_pretrained_model_by_url: as `import-model`
+ | URL | required | http or https

nnUNet_print_available_pretrained_models: shows the published models

nnUNet_print_pretrained_model_info: shows one of them
+ | TASK | required |

nnUNet_change_trainer_class: not applicable: models are used without the class that trained them
- | -i | required |
- | -tr | required |

nnUNet_plot_task_pngs: as nnUNetv2_plot_overlay_pngs
+ | -t | required | number or name
+ | -o | required |
+ | -num_processes | (8) | as many as cores and memory allow; N is the upper limit
+ | -modality_idx | 0 |
+ | --use_raw | |
"""

#: TotalSegmentator's, likewise.
TASKS = """
TotalSegmentator: finds the structures of a task in an image; [more](totalsegmentator.md)
+ | -i | none | image of any format that is read, DICOM folder or zip file
+ | -o | none | folder for one file per structure, or with `--ml` one file (`.nii.gz`, `.seg.nrrd` ...)
+ | -ot | (none) | nifti, dicom_seg, dicom_rtstruct; ours is nifti; DICOM needs DICOM input and `[dicom]` packages
+ | -ml | |
+ | --ml | | the same
o | -nr | 1 | as many threads as there are cores
+ | -ro | 1 |
+ | -ns | (6) | as many as cores and memory allow; N is the upper limit
+ | -f | |
+ | -ff | |
+ | -sl | | not with a crop, a subset or DICOM output
o | -t | None | there is no such viewer here
+ | -p | | drawn with matplotlib: other pictures than theirs
+ | -ta | total |
+ | -ms | big | small is for total_v3
+ | -rs | none | tasks whose names begin with total; with blanks or commas
+ | -rsr | none |
+ | -rc | |
- | --higher_order_resampling_LEGACY | | replaced by `-ho`
+ | -ho | |
+ | -s | none | with `--fast` on the grid of the networks
- | -r | | pyradiomics computes features from the masks
+ | -rp | none |
+ | -sii | |
+ | -sa | mean |
+ | -sx | | also with `--fast`
o | -cp | none | rough masks are kept in memory
+ | -bs | |
+ | -fs | |
+ | -ss | |
+ | -ndm | |
+ | -v1o | |
+ | -rmb | none | 200 mm3 where no size is given
+ | -d | gpu | also gpu:1, cpu, mps; gpu is the processor where there is none
+ | -q | | only warnings and errors
- | -sp | none | probabilities are of parts of structures, on the grid of the networks
o | -v | | everything is reported anyway
o | --debug | | errors name image and task anyway
o | -l | none | no key is needed to use weights that you have
o | --test | 0 | of their own tests
+ | -lt | |
+ | -lc | total |
+ | --version | |

totalseg_info: shows tasks, their structures, and which weights are missing
+ | --list-tasks | |
+ | -lt | | the same
+ | --classes | |
+ | -cl | | the same
+ | -ta | none | alone: this task with its structures
+ | --json | |

totalseg_download_weights: fetches published weights, and those that the task crops with
+ | -t | total | also several, numbers of datasets, or all; `_small` behind one: its small models; none with a key

totalseg_import_weights: takes weights from a zip file
+ | -i | required |

totalseg_combine_masks: puts several structures into one mask
+ | -i | required |
+ | -o | required |
+ | -m | required | also names of structures, with blanks or commas
+ | -ml | |
o | -t | None | there is no such viewer here
"""


@dataclass(frozen=True)
class Flag:
    """A flag, or an argument without one (upper case).

    Attributes:
        name: As on the command line.
        default: nnU-Net's, in words.
        same: Whether ours is the same.
        status: What becomes of it.
        note: The reason, or what is special.
    """

    name: str
    default: str
    same: bool
    status: str
    note: str


@dataclass(frozen=True)
class Row:
    """A command with its flags."""

    name: str
    text: str
    flags: tuple[Flag, ...]


def rows(text: str) -> list[Row]:
    """The commands of a table."""
    return [_row(block.splitlines()) for block in text.strip().split("\n\n")]


def _row(lines: list[str]) -> Row:
    name, text = lines[0].split(": ", 1)
    return Row(name, text, tuple(_flag(line) for line in lines[1:]))


def _flag(line: str) -> Flag:
    status, name, default, note = (part.strip() for part in line.split("|", 3))
    return Flag(name, default.strip("()"), not default.startswith("("), STATUS[status], note)


def document() -> str:
    """docs/commands.md."""
    parts = [
        "# nnU-Net's and TotalSegmentator's commands here",
        "",
        "Every command of nnU-Net v2 (2.8.1) and v1 (1.7.0) runs as it is, with `python -m segautoconfiglib` in front:",
        "same words, same folders, same files. All of them take `--workspace`, `--events`, `--job` and `--plugin`",
        "besides (`COMMAND --help`), and flags may be shortened as argparse allows (`--val`, `--c`).",
        "",
        "A flag **works**, is **accepted** without effect (the reason is given), or is **not applicable** (the command",
        "says why). Defaults are nnU-Net's; where ours differs, theirs is in brackets and the note tells ours.",
        "",
        "## nnU-Net v2",
        "",
        *_section(rows(V2)),
        "## nnU-Net v1",
        "",
        "Tasks are given as in v1: `Task05_Prostate`, or the number. `Task05_Prostate` stands for",
        "`Dataset005_Prostate`; a task that lies in v1's raw folder (`nnUNet_raw_data_base/nnUNet_raw_data`) is",
        "converted by `nnUNet_plan_and_preprocess`. Where v2's environment variables are not set, v1's count:",
        "`RESULTS_FOLDER`, and the folder `nnUNet_raw` in `nnUNet_raw_data_base`. Each command says which of v2 it",
        "stands for.",
        "",
        *_section(rows(V1)),
        "## TotalSegmentator",
        "",
        "Commands of 2.18.0; [about weights](engine.md#weights-of-totalsegmentators-tasks). Those that make reports",
        "(`totalseg_get_phase`, `totalseg_get_modality`, `totalseg_get_body_stats`, `totalseg_evans_index`,",
        "`totalseg_spine_report`, `totalseg_aorta_report`, `totalseg_pulmonary_report`) and `totalseg_set_license`",
        "take their flags and say why they are not here.",
        "",
        *_section(rows(TASKS)),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _section(table: list[Row]) -> list[str]:
    lines = []
    for row in table:
        lines += [f"### {row.name}", "", f"{row.text[:1].upper()}{row.text[1:]}.", ""]
        if row.flags:
            lines += ["| flag | default | | |", "| --- | --- | --- | --- |"]
            lines += [f"| {' | '.join(_cells(flag))} |" for flag in row.flags] + [""]
    return lines


def _cells(flag: Flag) -> list[str]:
    default = flag.default if flag.same else f"({flag.default})"
    name = flag.name if flag.name.isupper() and not flag.name.startswith("-") else f"`{flag.name}`"
    return [name, default, flag.status, flag.note]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(f"--write writes {DOCUMENT}")
    DOCUMENT.write_text(document(), encoding="utf-8")
