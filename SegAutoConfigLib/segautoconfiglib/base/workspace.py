"""All paths and folder-name rules; the only reader of nnU-Net's environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segautoconfiglib.base.errors import UserError

DATASET_NAME = re.compile(r"Dataset(\d{3,})_(.+)")
#: TotalSegmentator's home, also of users without one (in containers), and its folder of weights below that.
TOTALSEGMENTATOR_HOME, HOMELESS = "~/.totalsegmentator", "/tmp/.totalsegmentator"
TOTALSEGMENTATOR_RESULTS = ("nnunet", "results")
#: Folder of a workspace's models for weights of TotalSegmentator's tasks: their numbers may be those of other datasets.
TASK_WEIGHTS = "TotalSegmentator"


@dataclass(frozen=True)
class TaskWeights:
    """Folders of weights of TotalSegmentator's tasks. None of them needs to exist.

    Attributes:
        searched: In this order.
        target: Gets what is downloaded or unpacked.
    """

    searched: tuple[Path, ...]
    target: Path


@dataclass(frozen=True)
class Workspace:
    """The three root folders of nnU-Net. None of them needs to exist.

    Attributes:
        raw: Datasets.
        preprocessed: What training reads.
        results: Models.
        v1_base: What nnU-Net v1 calls nnUNet_raw_data_base; None: the folder that holds ``raw``.
    """

    raw: Path
    preprocessed: Path
    results: Path
    v1_base: Path | None = None

    @classmethod
    def at(cls, folder: Path | str) -> Workspace:
        """The workspace whose three folders lie in ``folder``."""
        folder = Path(folder).expanduser().absolute()
        return cls(folder / "nnUNet_raw", folder / "nnUNet_preprocessed", folder / "nnUNet_results")

    @classmethod
    def find(cls, folder: Path | str | None = None, environment: Mapping[str, str] | None = None) -> Workspace:
        """``folder`` if given, else nnU-Net's environment variables, else ``~/SegAutoConfig``.

        A variable that is not set stands for its folder in ``~/SegAutoConfig``; before that, those of nnU-Net v1 count:
        RESULTS_FOLDER for the models, and a folder nnUNet_raw beside the tasks in nnUNet_raw_data_base for datasets.
        """
        if folder is not None:
            return cls.at(folder)
        environment = os.environ if environment is None else environment
        home = cls.at("~/SegAutoConfig")

        def root(variable: str) -> Path | None:
            value = environment.get(variable)
            return Path(value).expanduser().absolute() if value else None

        v1_base = root("nnUNet_raw_data_base")
        return cls(
            root("nnUNet_raw") or (v1_base / "nnUNet_raw" if v1_base else home.raw),
            root("nnUNet_preprocessed") or home.preprocessed,
            root("nnUNet_results") or root("RESULTS_FOLDER") or home.results,
            v1_base,
        )

    def task_weights(self, environment: Mapping[str, str] | None = None) -> TaskWeights:
        """Where weights of TotalSegmentator's tasks lie; its TOTALSEG_WEIGHTS_PATH and TOTALSEG_HOME_DIR count.

        Without the first, what is downloaded goes into a folder of this workspace and not into TotalSegmentator's home.
        """
        environment = os.environ if environment is None else environment
        own = self.results / TASK_WEIGHTS
        named = environment.get("TOTALSEG_WEIGHTS_PATH")
        if named:
            place = Path(named).expanduser().absolute()
            return TaskWeights((place, own), place)
        usual = TOTALSEGMENTATOR_HOME if Path.home() != Path("/") else HOMELESS
        home = Path(environment.get("TOTALSEG_HOME_DIR") or usual).expanduser().absolute()
        return TaskWeights((home.joinpath(*TOTALSEGMENTATOR_RESULTS), own), own)

    @property
    def v1_tasks(self) -> Path:
        """The folder of nnU-Net v1's tasks, TaskXXX_Name."""
        return (self.v1_base or self.raw.parent) / "nnUNet_raw_data"

    @property
    def plugins(self) -> Path:
        """The folder of plug-ins, beside ``raw``, wherever the other roots lie."""
        return self.raw.parent / "plugins"

    def dataset_names(self) -> list[str]:
        """The names of all datasets in any of the three roots, sorted."""
        names: set[str] = set()
        for root in (self.raw, self.preprocessed, self.results):
            if root.is_dir():
                names.update(
                    entry.name for entry in root.iterdir() if entry.is_dir() and DATASET_NAME.fullmatch(entry.name)
                )
        return sorted(names)

    def dataset_name(self, name_or_id: str | int) -> str:
        """The folder name of a dataset given as ``4``, ``"004"`` or ``"Dataset004_Hippocampus"``.

        Raises:
            UserError: nothing has this name or id, or two datasets share the id.
        """
        names = self.dataset_names()
        text = str(name_or_id)
        known = f"Known datasets: {', '.join(names) or 'none'}. Roots: {self.raw}, {self.preprocessed}, {self.results}."
        if text.startswith("Dataset"):
            if text in names:
                return text
            raise UserError(f"There is no dataset {text!r}.", known)
        if not text.isdecimal():
            raise UserError(f"{text!r} is not a dataset: give its number or its full name.", known)
        found = [name for name in names if dataset_id(name) == int(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"Dataset id {int(text)} is used twice: {', '.join(found)}.",
                "Give the full name, or rename one of them in all three roots.",
            )
        raise UserError(f"There is no dataset with id {int(text)}.", known)

    def model_folder(self, dataset: str, trainer: str, plans: str, configuration: str) -> Path:
        """``results/<dataset>/<trainer>__<plans>__<configuration>``."""
        return self.results / dataset / f"{trainer}__{plans}__{configuration}"


def dataset_id(name: str) -> int:
    """The id in a folder name. Raises: UserError: not of the form DatasetXXX_Name."""
    match = DATASET_NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{name!r} is not a dataset name.", "Use DatasetXXX_Name, for example Dataset004_Hippocampus.")
    return int(match[1])


def stage_model(model_folder: Path, configuration: str) -> Path:
    """The model of another configuration with the same trainer and plans: ``<trainer>__<plans>__<configuration>``."""
    return model_folder.with_name(f"{model_folder.name.rpartition('__')[0]}__{configuration}")
