"""Weights of TotalSegmentator's models on this computer: where they lie, which are missing, and whether they fit."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.words import counted
from segautoconfiglib.base.workspace import DATASET_NAME, TASK_WEIGHTS, TOTALSEGMENTATOR_RESULTS, Workspace, dataset_id
from segautoconfiglib.inference.checking import Check, checkpoint_check
from segautoconfiglib.models.folder import PLANS_FILE, SEPARATOR, ModelFolder
from segautoconfiglib.models.install import import_models, models_in
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.tasks.catalogue import Part, load_catalogue

#: How far the plans' voxels may be from the catalogue's, share of an edge: finer and coarser models differ by far more.
SPACING_TOLERANCE = 0.2
#: Where the weights of some tasks come from.
LICENCE_ADVICE = (
    "Some need a licence key: TotalSegmentator's authors give it, and the weights with it "
    "(backend.totalsegmentator.com/license-academic); they are not fetched here."
)

#: Folder for the zip files given once, in that for weights of tasks.
UNPACKED = "unpacked"
#: How a checkpoint begins that torch wrote before it wrote zip files (a number of its own, pickled).
BEFORE_ZIP = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
#: Of images in Hounsfield units.
CT_SCHEME = "CTNormalization"
#: Behind the name of a task, or the number of a dataset, for the small variant of its models.
SMALL = "_small"


@dataclass(frozen=True)
class WeightsFolders:
    """Where weights are looked for. None of the folders needs to exist.

    Attributes:
        folders: In this order; datasets are found by their number.
        shared: Likewise, after these: folders that hold other models, too. Datasets have their published names there,
            because the number alone may be that of a dataset of the user's own.
        given: The folder that the user named, where one was; the first of ``folders``.
        report: Is warned where models in it can't be used, and others are.
    """

    folders: tuple[Path, ...]
    shared: tuple[Path, ...] = ()
    given: Path | None = None
    report: Reporter = silent

    @classmethod
    def search(
        cls,
        given: Path | str | None = None,
        workspace: Workspace | None = None,
        *,
        check: Check | None = None,
        report: Reporter = silent,
        cancel: CancelToken | None = None,
    ) -> WeightsFolders:
        """The folders in which weights may lie: the given one, TotalSegmentator's own, and those of the workspace.

        Args:
            given: A folder with datasets, a dataset or a model in one, TotalSegmentator's home, or a zip file of
                models, which is unpacked once into a folder of its own in the workspace.
            workspace: None: as the environment says.
            check: Called with each unpacked model; raises UserError for one that can't be used. None: its checkpoints
                are opened (see :func:`~segautoconfiglib.inference.model.check_checkpoints`).
            report: Told about unpacking, and about given models that can't be used.
            cancel: Asked meanwhile.

        Raises:
            UserError: what was given does not exist, or is a zip file that can't be used.
            Cancelled: on request.
        """
        workspace = workspace or Workspace.find()
        folders = [*workspace.task_weights().searched]
        if given is not None:
            path = Path(given).expanduser().absolute()
            if path.is_file():
                folders.insert(0, _unpacked(path, workspace.results / TASK_WEIGHTS / UNPACKED, check, report, cancel))
            elif path.is_dir():
                home = path.joinpath(*TOTALSEGMENTATOR_RESULTS)
                folders = [path, *([home] if home.is_dir() else []), *folders]
            else:
                raise UserError(f"There are no weights {path}.", "Give a folder or a zip file of models.")
        return cls(tuple(dict.fromkeys(folders)), (workspace.results,), folders[0] if given else None, report)

    def model(self, part: Part) -> ModelFolder:
        """The model of a part, in the first folder that has one that fits.

        Raises:
            UserError: none has it; or those that there are lack folds, are damaged or of another task.
        """
        found = self.find(part)
        if found is None:
            raise self.refusal(part) or missing_weights([part], self)
        return found

    def models(self, parts: Iterable[Part]) -> list[ModelFolder]:
        """The models of parts. Raises: UserError: see :meth:`model`; names all that are missing."""
        parts = list(parts)
        found = {part: self.find(part) for part in dict.fromkeys(parts)}
        missing = [part for part, model in found.items() if model is None]
        if len(missing) == 1:
            raise self.refusal(missing[0]) or missing_weights(missing, self)
        if missing:
            raise missing_weights(missing, self)
        models = {part: model for part, model in found.items() if model is not None}
        for part, model in models.items():
            self._tell_if_given_is_not_used(part, model)
        return [models[part] for part in parts]

    def _tell_if_given_is_not_used(self, part: Part, used: ModelFolder) -> None:
        given = self.given
        if given is None or used.path.is_relative_to(given):
            return
        first = next(self._candidates(part))
        problem = _problem(first, part)
        if problem is not None and first.path.is_relative_to(given):
            self.report("warning", message=f"{problem} {used.path} is used instead.", hint=problem.hint)

    def missing(self, parts: Iterable[Part]) -> list[Part]:
        """Those of the parts of which no folder has a model that fits."""
        return [part for part in parts if self.find(part) is None]

    def find(self, part: Part) -> ModelFolder | None:
        """The first model that fits a part, with all of its folds; of another trainer where the usual is not there."""
        return next((model for model in self._candidates(part) if _problem(model, part) is None), None)

    def refusal(self, part: Part) -> UserError | None:
        """Why the first model that seems to be that of a part can't be used; None where it can, or there is none."""
        first = next(self._candidates(part), None)
        return None if first is None else _problem(first, part)

    def _candidates(self, part: Part) -> Iterator[ModelFolder]:
        """What the names of folders tell to be the model of a part, the best first."""
        published = load_catalogue().datasets[part.dataset_id].folder
        for folder in dict.fromkeys((*self.folders, *self.shared)):
            models = [ModelFolder(path) for path in _model_folders(folder, part.dataset_id)]
            fitting = [
                model
                for model in models
                if model.name_parts[1:] == (part.plans, part.configuration)
                and (folder not in self.shared or folder in self.folders or model.path.parent.name == published)
            ]
            yield from sorted(fitting, key=lambda model: (model.name_parts[0] != part.trainer, model.path.name))


def _model_folders(folder: Path, number: int) -> Iterator[Path]:
    """Models of a dataset in a folder of datasets, in a dataset, or the folder itself."""
    if (folder / PLANS_FILE).is_file():
        with suppress(UserError):  # damaged plans: of no dataset
            if _is_dataset(ModelFolder(folder).dataset, number):
                yield folder
        return
    datasets = [folder] if _is_dataset(folder.name, number) else sorted(_folders_in(folder))
    for dataset in datasets:
        if _is_dataset(dataset.name, number):
            for model in sorted(dataset.glob(f"*{SEPARATOR}*{SEPARATOR}*")):
                if (model / PLANS_FILE).is_file() and any(model.glob("fold_*/checkpoint_final.pth")):
                    yield model


def _folders_in(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError:  # none, or not ours to read
        return []


def _is_dataset(name: str, number: int) -> bool:
    return DATASET_NAME.fullmatch(name) is not None and dataset_id(name) == number


def _problem(model: ModelFolder, part: Part) -> UserError | None:
    """Why a model can't be that of a part."""
    try:
        check_fits(model, part)
    except UserError as error:
        return error
    return None


def unpack(
    file: Path,
    target: Path,
    *,
    overwrite: bool = False,
    check: Check | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[ModelFolder]:
    """Put the models of a zip file among the weights; those that are there stay.

    Args:
        file: As TotalSegmentator publishes them.
        target: The folder of weights.
        overwrite: Replace models of the same name.
        check: Called with each unpacked model; raises UserError for one that can't be used.
        report: Told about progress.
        cancel: Asked meanwhile.

    Raises:
        UserError: see :func:`~segautoconfiglib.models.install.import_models`.
        Cancelled: on request.
    """
    place = replace(Workspace.at(target), results=target)
    try:
        return import_models(file, place, overwrite=overwrite, check=check, report=report, cancel=cancel)
    except UserError as error:
        if error.action != "replace-model":
            raise
        hint = "Replace them with --overwrite, or put these into another folder (--target FOLDER)."
        raise UserError(error.message, hint, "replace-weights") from error


def _unpacked(file: Path, place: Path, check: Check | None, report: Reporter, cancel: CancelToken | None) -> Path:
    """The folder with the models of a zip file, named after what is in them; unpacked unless they are there."""
    models = models_in(file)
    members = {
        f"{packed.dataset}/{packed.name}/{name}": info for packed in models for name, info in packed.members.items()
    }
    words = [f"{info.CRC:08x} {info.file_size} {name}\n" for name, info in sorted(members.items())]
    target = place / hashlib.sha256("".join(words).encode()).hexdigest()[:16]
    if not _are_there(members, target):
        with alone(target.with_suffix(".lock"), f"Unpacking {file}", report=report, cancel=cancel):
            if not _are_there(members, target):  # another process may have done it by now
                check = check or checkpoint_check(report)
                unpack(file, target, overwrite=True, check=check, report=report, cancel=cancel)
    return target


def _are_there(members: Mapping[str, zipfile.ZipInfo], folder: Path) -> bool:
    """Whether all checkpoints are there in their size; models come whole."""
    checkpoints = {folder / name: info.file_size for name, info in members.items() if name.endswith(".pth")}
    return all(file.is_file() and file.stat().st_size == size for file, size in checkpoints.items())


def check_fits(model: ModelFolder, part: Part) -> None:
    """Find out from its files whether a model is the one of a part.

    Raises:
        UserError: it has another number of channels or labels, or other voxels: weights of another task; or folds that
            the task uses are missing, or its files are damaged; a checkpoint of which the end is missing, too.
    """
    differences = _differences(model, part)
    if differences:
        raise UserError(
            f"{model.path} holds weights of another task: {'; '.join(differences)}.", _advice([part]), "task-weights"
        )
    try:
        folds = model.chosen_folds(None if part.folds is None else list(part.folds))
    except UserError as error:
        raise UserError(error.message, _advice([part]), "task-weights") from error
    damaged = [file for fold in folds if not _is_whole(file := model.checkpoint(fold))]
    if damaged:
        files = ", ".join(map(str, damaged))
        raise UserError(f"Damaged, or not copied to its end: {files}.", _advice([part]), "task-weights")


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint goes to its end, where a zip file lists what is in it. Of older forms nobody can tell."""
    with suppress(OSError), checkpoint.open("rb") as stream:
        return stream.read(len(BEFORE_ZIP)) == BEFORE_ZIP or zipfile.is_zipfile(stream)
    return False


def _differences(model: ModelFolder, part: Part) -> list[str]:
    """In words what keeps a model from being that of a part."""
    published = load_catalogue().datasets[part.dataset_id].folder
    description, configuration = model.description, model.plans.configuration(part.configuration)
    found = []
    channels = max(len(description.channels), len(configuration.normalization_schemes))
    if channels != 1:
        found.append(f"it takes {channels} channels, the task 1")
    labels = description.label_spec.output_channels - (0 if description.label_spec.has_regions else 1)
    if labels != part.count and not (labels > part.count and _is_dataset(model.plans.dataset_name, part.dataset_id)):
        found.append(f"it has {counted(labels, 'label')}, the task {part.count}")
    schemes = configuration.normalization_schemes
    named = published in (model.dataset, model.plans.dataset_name)  # then it is its authors' business
    if not named and _is_for_ct(part) and any(scheme != CT_SCHEME for scheme in schemes):
        found.append(f"it normalises images by {', '.join(schemes)}, the task's by {CT_SCHEME}")
    if part.spacing_mm is not None:
        spacing = _spacing(model, configuration)
        edges = zip(spacing, part.spacing_mm, strict=False)
        if len(spacing) != 3 or any(abs(edge - wanted) > SPACING_TOLERANCE * wanted for edge, wanted in edges):
            found.append(f"its voxels have {_text(spacing)} mm (z, y, x), the task's {_text(part.spacing_mm)} mm")
    return found


def _is_for_ct(part: Part) -> bool:
    """Whether only tasks for CT use the models of its dataset."""
    tasks = load_catalogue().tasks
    using = [
        task for task in tasks for mode in task.modes.values() for one in mode.parts
        if one.dataset_id == part.dataset_id
    ]  # fmt: skip
    return bool(using) and all(task.modality == "CT" for task in using)


def _spacing(model: ModelFolder, configuration: Configuration) -> tuple[float, ...]:
    """(z, y, x) in mm; of 2D plans (y, x)."""
    if len(configuration.spacing) != 3:
        return configuration.spacing
    return tuple(configuration.spacing[axis] for axis in model.plans.transpose_backward)


def _text(spacing: Sequence[float]) -> str:
    return " x ".join(f"{edge:.4g}" for edge in spacing)


def missing_weights(parts: Sequence[Part], weights: WeightsFolders) -> UserError:
    """What to say about models that are not there: which, where was looked, and how they get there."""
    datasets = load_catalogue().datasets
    names = ", ".join(f"{datasets[part.dataset_id].folder}/{part.model_name}" for part in parts)
    places = ", ".join(map(str, dict.fromkeys((*weights.folders, *weights.shared))))
    refused = [str(error.message) for part in parts if (error := weights.refusal(part)) is not None]
    why = "".join(f" {message}" for message in dict.fromkeys(refused))
    return UserError(f"Weights are missing: {names}. Looked in {places}.{why}", _advice(parts), "task-weights")


def _advice(parts: Sequence[Part]) -> str:
    """How the models of parts get here."""
    catalogue = load_catalogue()
    words = {part: f"{part.dataset_id}{SMALL if _is_small(part) else ''}" for part in parts}
    published = [word for part, word in words.items() if catalogue.download_address(part.dataset_id)]
    advice = []
    if published:
        advice.append(f"Download them: totalseg_download_weights -t {' '.join(dict.fromkeys(published))}.")
    if len(published) < len(words):
        advice.append(LICENCE_ADVICE)
    advice.append("Weights that you have elsewhere: --weights FOLDER (or a zip file).")
    return " ".join(advice)


def _is_small(part: Part) -> bool:
    return part.plans in {task.small_plans for task in load_catalogue().tasks}
