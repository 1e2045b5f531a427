"""What a zip file of models holds: models of nnU-Net 2, of nnU-Net 1, and the choice among the models of a dataset."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.workspace import DATASET_NAME
from segautoconfiglib.models.folder import DATASET_FILE, PLANS_FILE, SEPARATOR

Members = Mapping[PurePosixPath, zipfile.ZipInfo]

#: What belongs to a model, as paths in its folder; everything else stays in the zip file.
KEPT = re.compile(
    r"(plans|dataset|dataset_fingerprint|model)\.json"
    r"|fold_(\d+|all)/(checkpoint_\w+\.pth|progress\.png|debug\.json|training_log_\w+\.txt|validation/summary\.json)"
    r"|crossval_results_folds_\w+/(summary|postprocessing)\.json"
)
#: Likewise of a model of nnU-Net 1.
KEPT_V1 = re.compile(r"plans\.pkl|postprocessing\.json|fold_(\d+|all)/(model_final_checkpoint\.model|progress\.png)")
V1_PLANS = "plans.pkl"
V1_CHECKPOINT = "model_final_checkpoint.model"
V1_CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
TASK_NAME = re.compile(r"Task(\d{3,})_(.+)")
#: What find-best leaves beside the models of a dataset.
CHOICE_FILES = ("inference_information.json", "inference_instructions.txt")
ENSEMBLES = "ensembles"
KEPT_CHOICE = re.compile(rf"{'|'.join(map(re.escape, CHOICE_FILES))}|{ENSEMBLES}/[^/]+/(summary|postprocessing)\.json")
#: Characters that no name of a file may have on some system; dots and spaces may not end one.
UNSAFE_NAME = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$')
#: Of a text or picture (bytes).
LARGEST_TEXT = 200 * 10**6


@dataclass(frozen=True)
class Packed:
    """A model in a zip file, or the files beside the models of a dataset.

    Attributes:
        dataset: Name of the folder that it goes to.
        name: Of its own folder; empty for the files beside models.
        members: What is taken of it, by path in its folder.
        old: It is a model of nnU-Net 1, to be converted.
    """

    dataset: str
    name: str
    members: dict[str, zipfile.ZipInfo]
    old: bool = False


def packed_models(members: Members, archive: zipfile.ZipFile, file: Path, dataset: str | None) -> list[Packed]:
    """The models among the files of an archive.

    They are folders with plans.json, dataset.json and checkpoints; of nnU-Net 1 with plans.pkl and checkpoints, in
    ``<configuration>/TaskXXX_Name/<trainer>__<plans>``.

    Raises:
        UserError: there are none, or it can't be told what they are.
    """
    found = []
    for path in sorted(members):
        folder = path.parent
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if hidden:
            continue
        if path.name == PLANS_FILE and folder / DATASET_FILE in members:
            kept = _inside(members, folder, KEPT)
            if any(name.endswith(".pth") for name in kept):
                name = _model_name(folder, file)
                found.append(Packed(_dataset(folder, archive, members[path], file, dataset), name, kept))
        elif path.name == V1_PLANS:
            kept = _inside(members, folder, KEPT_V1)
            if any(name.endswith(V1_CHECKPOINT) for name in kept):
                found.append(Packed(*_v1_names(folder, file, dataset), kept, old=True))
    if not found:
        raise UserError(
            f"{file} holds no model.",
            f"A model is a folder with {PLANS_FILE}, {DATASET_FILE} and fold_0/checkpoint_final.pth; of nnU-Net 1 with "
            f"{V1_PLANS} and fold_0/{V1_CHECKPOINT}.",
        )
    places = [(model.dataset.lower(), model.name.lower()) for model in found]
    if len(set(places)) < len(places):
        raise UserError(f"{file} holds two models of one name.", "Import them one by one, from zip files of their own.")
    return found


def packed_choices(members: Members, models: Iterable[Packed], dataset: str | None) -> list[Packed]:
    """The files beside the models: which of them are best together, and ensembles' postprocessing."""
    folders = {
        path.parent.parent
        for path in members
        if path.name == PLANS_FILE and DATASET_NAME.fullmatch(path.parent.parent.name)
    }
    known = {model.dataset for model in models if not model.old}
    found = []
    for folder in sorted(folders):
        kept, name = _inside(members, folder, KEPT_CHOICE), dataset or folder.name
        if kept and name in known:
            found.append(Packed(name, "", kept))
    return found


def _inside(members: Members, folder: PurePosixPath, kept: re.Pattern[str]) -> dict[str, zipfile.ZipInfo]:
    inside = {str(entry.relative_to(folder)): info for entry, info in members.items() if entry.is_relative_to(folder)}
    return {name: info for name, info in inside.items() if kept.fullmatch(name)}


def _model_name(folder: PurePosixPath, file: Path) -> str:
    name = folder.name if folder.name else file.name.removesuffix(file.suffix)
    if len(name.split(SEPARATOR)) != 3:
        raise UserError(
            f"{file}: a model named {name!r} does not tell how it was trained.",
            "Rename its folder to trainer__plans__configuration (or the zip file, if it holds no folder).",
        )
    return name


def _v1_names(folder: PurePosixPath, file: Path, dataset: str | None) -> tuple[str, str]:
    """Dataset and name of a model of nnU-Net 1, whose configuration stands above the task."""
    configuration, task, name = ("", "", "", *folder.parts)[-3:]
    match = TASK_NAME.fullmatch(task)
    trainer, _, plans = name.partition(SEPARATOR)
    if match is None or configuration not in V1_CONFIGURATIONS or not plans or SEPARATOR in plans:
        raise UserError(
            f"{file}: the folder of a model of nnU-Net 1 does not tell what it is ({folder}).",
            "Put it into folders named CONFIGURATION/TaskXXX_Name/TRAINER__PLANS, 3d_fullres/Task004_Hippocampus/"
            "nnUNetTrainerV2__nnUNetPlansv2.1 for example.",
        )
    # the lower stage of a cascade is looked for under the trainer's name, which v1 changed from stage to stage
    trainer = trainer.replace("CascadeFullRes", "")
    return checked_dataset(dataset or f"Dataset{match[1]}_{match[2]}", file), SEPARATOR.join(
        (trainer, plans, configuration)
    )


def _dataset(
    folder: PurePosixPath, archive: zipfile.ZipFile, plans: zipfile.ZipInfo, file: Path, wanted: str | None
) -> str:
    """The dataset's name: as wanted, else as the folder above the model has it, else as the plans do."""
    if wanted is None and DATASET_NAME.fullmatch(folder.parent.name):
        return folder.parent.name
    name = wanted
    if name is None and plans.file_size <= LARGEST_TEXT:
        with suppress(ValueError, AttributeError, RecursionError):
            name = json.loads(archive.read(plans)).get("dataset_name")
    return checked_dataset(name, file)


def checked_dataset(name: object, file: Path) -> str:
    """A name that a folder of a dataset may have. Raises: UserError: it may not."""
    if not isinstance(name, str) or not DATASET_NAME.fullmatch(name) or re.search(r"[/\\]", name):
        raise UserError(
            f"{file} does not tell the dataset of its model ({name!r:.100}).",
            "Give it: --dataset Dataset123_Name.",
            "name-dataset",
        )
    if UNSAFE_NAME.search(name):
        raise UserError(
            f"{name!r} can't be the name of a folder.", "Give another one: --dataset Dataset123_Name.", "name-dataset"
        )
    return name
