"""Weights of TotalSegmentator's models on this computer: where they lie, which are missing, and whether they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.words import counted
from segautoconfiglib.base.workspace import DATASET_NAME, TOTALSEGMENTATOR_RESULTS, Workspace, dataset_id
from segautoconfiglib.models.folder import PLANS_FILE, SEPARATOR, Fold, ModelFolder
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

Check = Callable[[ModelFolder], None]


@dataclass(frozen=True)
class WeightsFolders:
    """Where weights are looked for.

    Attributes:
        folders: In this order; they need not exist.
    """

    folders: tuple[Path, ...]

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
                models, which is unpacked into the workspace's folder for weights unless its models are there.
            workspace: None: as the environment says.
            check: Called with each unpacked model; raises UserError for one that can't be used.
            report: Told about unpacking.
            cancel: Asked meanwhile.

        Raises:
            UserError: what was given does not exist, or is a zip file that can't be used.
            Cancelled: on request.
        """
        workspace = workspace or Workspace.find()
        places = workspace.task_weights()
        folders = [*places.searched, workspace.results]
        if given is not None:
            path = Path(given).expanduser().absolute()
            if path.is_file():
                if not _is_unpacked(path, places.target):
                    unpack(path, places.target, check=check, report=report, cancel=cancel)
                folders.insert(0, places.target)
            elif path.is_dir():
                home = path.joinpath(*TOTALSEGMENTATOR_RESULTS)
                folders = [path, *([home] if home.is_dir() else []), *folders]
            else:
                raise UserError(f"There are no weights {path}.", "Give a folder or a zip file of models.")
        return cls(tuple(dict.fromkeys(folders)))

    def model(self, part: Part) -> ModelFolder:
        """The model of a part, in the first folder that has it.

        Raises:
            UserError: none has it, folds are missing, it is damaged or that of another task.
        """
        found = self.find(part)
        if found is None:
            raise missing_weights([part], self.folders)
        check_fits(found, part)
        found.chosen_folds(_folds(part))
        return found

    def models(self, parts: Iterable[Part]) -> list[ModelFolder]:
        """The models of parts. Raises: UserError: see :meth:`model`; names all that are missing."""
        parts = list(parts)
        missing = self.missing(parts)
        if missing:
            raise missing_weights(missing, self.folders)
        return [self.model(part) for part in parts]

    def missing(self, parts: Iterable[Part]) -> list[Part]:
        """Those of the parts that no folder has; models that do not fit are not missing."""
        return [part for part in parts if self.find(part) is None]

    def find(self, part: Part) -> ModelFolder | None:
        """The model of a part, unchecked; that of another trainer where the usual one is not there."""
        for folder in self.folders:
            models = [ModelFolder(path) for path in _model_folders(folder, part.dataset_id)]
            fitting = [model for model in models if model.name_parts[1:] == (part.plans, part.configuration)]
            if fitting:
                return min(fitting, key=lambda model: (model.name_parts[0] != part.trainer, model.path.name))
        return None


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


def _folds(part: Part) -> list[Fold] | None:
    return None if part.folds is None else list(part.folds)


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
    return import_models(file, place, overwrite=overwrite, check=check, report=report, cancel=cancel)


def _is_unpacked(file: Path, target: Path) -> bool:
    """Whether all checkpoints of a zip file are in a folder, as far as their sizes tell."""
    for packed in models_in(file):
        for name, info in packed.members.items():
            there = target / packed.dataset / packed.name / name
            if name.endswith(".pth") and (not there.is_file() or there.stat().st_size != info.file_size):
                return False
    return True


def check_fits(model: ModelFolder, part: Part) -> None:
    """Find out from its files whether a model is the one of a part.

    Raises:
        UserError: it has another number of channels or labels, or other voxels: weights of another task; or its files
            are damaged.
    """
    differences = _differences(model, part)
    if differences:
        raise UserError(
            f"{model.path} holds weights of another task: {'; '.join(differences)}.",
            f"Put those of {load_catalogue().datasets[part.dataset_id].folder} there.",
        )


def _differences(model: ModelFolder, part: Part) -> list[str]:
    """In words what keeps a model from being that of a part."""
    description, configuration = model.description, model.plans.configuration(part.configuration)
    found = []
    channels = max(len(description.channels), len(configuration.normalization_schemes))
    if channels != 1:
        found.append(f"it takes {channels} channels, the task 1")
    labels = description.label_spec.output_channels - (0 if description.label_spec.has_regions else 1)
    if labels != part.count and not (labels > part.count and _is_dataset(model.plans.dataset_name, part.dataset_id)):
        found.append(f"it has {counted(labels, 'label')}, the task {part.count}")
    if part.spacing_mm is not None:
        spacing = _spacing(model, configuration)
        edges = zip(spacing, part.spacing_mm, strict=False)
        if len(spacing) != 3 or any(abs(edge - wanted) > SPACING_TOLERANCE * wanted for edge, wanted in edges):
            found.append(f"its voxels have {_text(spacing)} mm (z, y, x), the task's {_text(part.spacing_mm)} mm")
    return found


def _spacing(model: ModelFolder, configuration: Configuration) -> tuple[float, ...]:
    """(z, y, x) in mm; of 2D plans (y, x)."""
    if len(configuration.spacing) != 3:
        return configuration.spacing
    return tuple(configuration.spacing[axis] for axis in model.plans.transpose_backward)


def _text(spacing: Sequence[float]) -> str:
    return " x ".join(f"{edge:.4g}" for edge in spacing)


def missing_weights(parts: Sequence[Part], folders: Sequence[Path]) -> UserError:
    """What to say about models that are not there: which, where was looked, and how they get there."""
    catalogue = load_catalogue()
    names = ", ".join(f"{catalogue.datasets[part.dataset_id].folder}/{part.model_name}" for part in parts)
    numbers = list(dict.fromkeys(part.dataset_id for part in parts))
    published = [str(number) for number in numbers if catalogue.download_address(number)]
    advice = []
    if published:
        advice.append(f"Download them: totalseg_download_weights -t {' '.join(published)}.")
    if len(published) < len(numbers):
        advice.append(LICENCE_ADVICE)
    advice.append("Weights that you have elsewhere: --weights FOLDER (or a zip file).")
    return UserError(
        f"Weights are missing: {names}. Looked in {', '.join(map(str, folders))}.", " ".join(advice), "task-weights"
    )
