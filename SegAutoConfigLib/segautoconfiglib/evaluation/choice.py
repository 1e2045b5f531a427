"""The choice file: which model, or pair of models, is best on the held-out cases, and how to predict with it.

It is nnU-Net's ``inference_information.json``, in the dataset's folder of results. Everything it names lies beside
it, so a choice can be moved to another computer together with its models.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import Record
from segautoconfiglib.evaluation.places import (
    POSTPROCESSING_JSON,
    POSTPROCESSING_PICKLE,
    accumulated_folder,
    folds_text,
)
from segautoconfiglib.evaluation.summary import Number
from segautoconfiglib.models.folder import SEPARATOR, ModelFolder

CHOICE_FILE, INSTRUCTIONS_FILE = "inference_information.json", "inference_instructions.txt"
ENSEMBLES = "ensembles"
PROGRAM = "python -m segautoconfiglib"


def _plain_name(value: str) -> str:
    if not re.fullmatch(r"[^/\\:]+", value) or value.startswith("."):
        raise ValueError("it must be a plain name")
    return value


#: A part of a folder's name: a choice file can't point elsewhere.
Name = Annotated[str, AfterValidator(_plain_name)]
FoldNumber = Annotated[int, BeforeValidator(lambda value: int(value) if str(value).isdigit() else value)]


class Member(Record):
    """A model that is part of the choice."""

    configuration: Name
    trainer: Name
    plans_identifier: Name

    @property
    def folder_name(self) -> str:
        """trainer__plans__configuration."""
        return SEPARATOR.join((self.trainer, self.plans_identifier, self.configuration))


class Best(Record):
    """The best model or pair of models.

    Attributes:
        result_on_crossval_pre_pp: Mean Dice of the held-out cases.
        result_on_crossval_post_pp: The same after postprocessing.
        postprocessing_file: postprocessing.pkl, where it was made.
        some_plans_file: plans.json, where it was made.
        selected_model_or_models: One, or two whose probabilities are averaged.
    """

    result_on_crossval_pre_pp: Number
    result_on_crossval_post_pp: Number
    postprocessing_file: str
    some_plans_file: str
    selected_model_or_models: list[Member]


class Choice(Record):
    """inference_information.json.

    Attributes:
        folds: That were compared, and are to be averaged.
        dataset_name_or_id: Of the dataset.
        considered_models: Each with plans, configuration and trainer.
        ensembling_allowed: Pairs of models were compared, too.
        all_results: Model or ensemble to mean Dice.
        best_model_or_ensemble: The choice.
    """

    folds: list[FoldNumber]
    dataset_name_or_id: str | int
    considered_models: list[dict[str, str]]
    ensembling_allowed: bool
    all_results: dict[str, Number]
    best_model_or_ensemble: Best

    @property
    def members(self) -> list[Member]:
        """The models to predict with."""
        return self.best_model_or_ensemble.selected_model_or_models

    def models(self, folder: Path) -> list[ModelFolder]:
        """The models to predict with. folder: That holds the choice file. Raises: UserError: one is missing."""
        return [ModelFolder.open(folder / member.folder_name) for member in self.members]

    def postprocessing_file(self, folder: Path) -> Path:
        """Its postprocessing. folder: That holds the choice file. Raises: UserError: it is missing."""
        source = cross_validation_folder(
            [ModelFolder(folder / member.folder_name) for member in self.members], self.folds
        )
        for name in (POSTPROCESSING_JSON, POSTPROCESSING_PICKLE):
            if (source / name).is_file():
                return source / name
        file = source / POSTPROCESSING_JSON
        raise UserError(f"The postprocessing of the choice is missing: {file}.", "Run find-best again.")


def cross_validation_folder(models: list[ModelFolder], folds: list[int]) -> Path:
    """Where the predictions of the held-out cases of a model, or of a pair of models, lie."""
    if len(models) == 1:
        return accumulated_folder(models[0], folds)
    return models[0].path.parent / ENSEMBLES / ensemble_name(models, folds)


def ensemble_name(models: list[ModelFolder], folds: list[int]) -> str:
    """nnU-Net's name of an ensemble."""
    return "___".join(("ensemble", *(model.path.name for model in models), folds_text(folds)))


def instructions(choice: Choice, file: Path) -> str:
    """How to predict with a choice, as text for people.

    Args:
        choice: The choice.
        file: Where it is saved.
    """
    pickle_file = cross_validation_folder(choice.models(file.parent), choice.folds) / POSTPROCESSING_PICKLE
    steps = "\n".join(_steps(choice, file.parent, pickle_file))
    return f"""Best on the held-out cases: {" + ".join(member.folder_name for member in choice.members)}
Mean Dice {choice.best_model_or_ensemble.result_on_crossval_pre_pp:.4f}, \
after postprocessing {choice.best_model_or_ensemble.result_on_crossval_post_pp:.4f}.

In one command (lower stages, members, mean and postprocessing):

{PROGRAM} predict --choice {_quoted(file)} -i INPUT_FOLDER -o OUTPUT_FOLDER

Step by step, with nnU-Net or with "{PROGRAM}" in front:

{steps}
"""


def _steps(choice: Choice, folder: Path, pickle_file: Path) -> Iterator[str]:
    """nnU-Net's commands in their order."""
    several = len(choice.members) > 1
    outputs = [f"OUTPUT_FOLDER_MODEL_{number}" if several else "OUTPUT_FOLDER" for number in range(1, 3)]
    outputs = outputs[: len(choice.members)]
    folds = " ".join(map(str, choice.folds))
    made: dict[str, str] = {}
    for model, member, output in zip(choice.models(folder), choice.members, outputs, strict=True):
        before = ""
        for configuration in model.plans.stages(member.configuration):
            last = configuration == member.configuration
            which = f"-tr {member.trainer} -c {configuration} -p {member.plans_identifier}"
            if which in made and not last:
                before = made[which]
                continue
            target = output if last else f"{output}_{configuration}"
            yield (
                f"nnUNetv2_predict -d {choice.dataset_name_or_id} -i INPUT_FOLDER -o {target} -f {folds} "
                f"{which}{f' -prev_stage_predictions {before}' if before else ''}"
                f"{' --save_probabilities' if several and last else ''}"
            )
            before = made[which] = target
    if several:
        yield f"nnUNetv2_ensemble -i {' '.join(outputs)} -o OUTPUT_FOLDER"
    yield (
        f"nnUNetv2_apply_postprocessing -i OUTPUT_FOLDER -o OUTPUT_FOLDER_PP -pp_pkl_file {_quoted(pickle_file)} "
        f"-plans_json {_quoted(pickle_file.with_name('plans.json'))}"
    )


def _quoted(file: Path) -> str:
    return shlex.quote(str(file))
