"""Models as files: export and import. Listing, renaming and deleting are in models/ alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import command, counted
from segautoconfiglib.base.workspace import DATASET_NAME, dataset_id
from segautoconfiglib.inference.checking import checkpoint_check, has_torch, warn_without_torch
from segautoconfiglib.models import bundle, install
from segautoconfiglib.models.anonymous import anonymous_checkpoint
from segautoconfiglib.models.download import downloaded, is_address
from segautoconfiglib.models.folder import FINAL, Fold, ModelFolder
from segautoconfiglib.models.listing import model_row
from segautoconfiglib.models.v1 import convert_model


def export_models(
    context: Context,
    models: Sequence[Path],
    file: Path,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoints: Sequence[str] = (FINAL,),
    predictions: bool = False,
    case_names: bool = False,
) -> Path:
    """Write models to a zip file that nnU-Net installs, too; see `segautoconfiglib.models.bundle.export_models`."""
    folders = [ModelFolder.open(model) for model in models]
    _warn_of_missing_stages(context, folders)
    written = bundle.export_models(
        folders,
        file,
        folds=folds,
        checkpoints=checkpoints,
        predictions=predictions,
        case_names=case_names,
        clean=None if case_names or predictions else _checkpoint_cleaner(context),
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage=bundle.STAGE, file=str(written), size_mb=round(written.stat().st_size / 1e6, 1))
    return written


def chosen_models(context: Context, dataset: str | int) -> list[Path]:
    """The models that find-best chose for a dataset, and the lower stages that they need.

    Raises:
        UserError: there is no choice, or one of the models is missing.
    """
    folder = context.workspace.results / context.workspace.dataset_name(dataset)
    names = bundle.chosen_models(folder)
    if not names:
        raise UserError(
            f"Nothing was chosen among the models of {folder.name}.",
            f"Run {command('find-best', folder.name)} first, or export one of its models "
            f"({command('info', folder.name)} lists them).",
        )
    members = [ModelFolder.open(folder / name) for name in names]
    return list(dict.fromkeys(path for model in members for path in (model.path, *model.lower_stages())))


def with_lower_stages(context: Context, model: Path) -> list[Path]:
    """A model and, of a cascade, the lower stages that it needs, as far as they are there; says so."""
    folder = ModelFolder.open(model)
    there = [path for path in folder.lower_stages() if path.is_dir()]
    if there:
        names = ", ".join(path.name for path in there)
        context.report("log", message=f"{folder.path.name} is a cascade; with it goes what it needs: {names}.")
    return [model, *there]


def _warn_of_missing_stages(context: Context, models: Sequence[ModelFolder]) -> None:
    exported = {model.path.absolute() for model in models}
    for model in models:
        missing = [path.name for path in model.lower_stages() if path not in exported]
        if missing:
            context.report(
                "warning",
                message=f"{model.path.name} is a cascade; what it needs is not part of the file: {', '.join(missing)}.",
                hint="Export that model, too: predictions are made with both.",
            )


def import_models(
    context: Context, file: Path | str, *, dataset: str | None = None, overwrite: bool = False
) -> list[ModelFolder]:
    """Put the models of a zip file into the workspace, after checking everything about them.

    Args:
        context: Its workspace gets them.
        file: Of nnU-Net 2 or 1, or of this program; or its address (http or https).
        dataset: Name of the dataset to put them under, or the number or name of one that there is.
        overwrite: Replace models of the same name.

    Raises:
        UserError: see :func:`~segautoconfiglib.models.install.import_models`.
    """
    if dataset is not None and not DATASET_NAME.fullmatch(dataset):
        dataset = context.workspace.dataset_name(dataset)
    if is_address(str(file)):
        results, tools = context.workspace.results, {"report": context.report, "cancel": context.cancel}
        with downloaded(str(file), results, **tools) as local:  # type: ignore[arg-type]
            return import_models(context, local, dataset=dataset, overwrite=overwrite)
    models = install.import_models(
        Path(file),
        context.workspace,
        dataset=dataset,
        overwrite=overwrite,
        check=checkpoint_check(context.report),
        convert=_v1_converter(),
        report=context.report,
        cancel=context.cancel,
    )
    for name in sorted({model.dataset for model in models}):
        _warn_of_same_id(context, name)
    for model in models:
        context.report("artifact", path=str(model.path), description="model")
    context.report("done", stage=install.STAGE, models=[model_row(model) for model in models])
    context.report("log", message=f"Imported: {counted(len(models), 'model')}.")
    return models


def _checkpoint_cleaner(context: Context) -> bundle.Clean | None:
    """What takes names of cases and paths out of checkpoints; without torch they can't be opened."""
    if not has_torch():
        hint = "Where dataset.json lists the cases, checkpoints repeat the list."
        warn_without_torch(context.report, "copied as they are", hint)
        return None
    from segautoconfiglib.networks.checkpoint import read_checkpoint, write_checkpoint

    def clean(source: Path, target: Path) -> bool:
        try:
            content = read_checkpoint(source)
        except UserError as error:
            context.report("warning", message=f"{error.message} It was copied as it is.", hint=error.hint)
            return False
        public = anonymous_checkpoint(content)
        private = public.get("init_args") != content.get("init_args")
        if private:
            write_checkpoint(target, public)
        return private

    return clean


def _v1_converter() -> Callable[[Path], None] | None:
    """What makes a model of nnU-Net 1 one of nnU-Net 2; None without torch."""
    if not has_torch():
        return None
    from segautoconfiglib.networks.v1 import convert_checkpoint, has_batch_norm

    return lambda folder: convert_model(folder, convert_checkpoint, has_batch_norm)


def _warn_of_same_id(context: Context, name: str) -> None:
    """Commands that are given the number alone can't tell two datasets of one number apart."""
    try:
        context.workspace.dataset_name(dataset_id(name))
    except UserError as error:
        context.report("warning", message=error.message, hint=error.hint, action=error.action)
