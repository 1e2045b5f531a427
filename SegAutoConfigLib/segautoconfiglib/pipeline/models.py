"""Models as files: export and import. Listing, renaming and deleting are in models/ alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.base.workspace import DATASET_NAME, dataset_id
from segautoconfiglib.models import bundle, install
from segautoconfiglib.models.anonymous import anonymous_checkpoint
from segautoconfiglib.models.download import downloaded, is_address
from segautoconfiglib.models.folder import FINAL, SEPARATOR, Fold, ModelFolder
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
    written = bundle.export_models(
        [ModelFolder.open(model) for model in models],
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
            f"Run find-best first, or export one of its models ('info {folder.name}' lists them).",
        )
    found: list[Path] = []
    while names:
        model = ModelFolder.open(folder / names.pop(0))
        if model.path in found:
            continue
        found.append(model.path)
        trainer, plans, configuration = model.name_parts
        lower = model.plans.configuration(configuration).previous_stage
        names += [SEPARATOR.join((trainer, plans, lower))] if lower else []
    return found


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
        check=checkpoint_check(context),
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


def checkpoint_check(context: Context) -> Callable[[ModelFolder], None] | None:
    """What opens the checkpoints; without torch they can't be."""
    try:
        from segautoconfiglib.inference.model import check_checkpoints
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        context.report(
            "warning",
            message="The checkpoints were not opened, because torch is not installed.",
            hint="They are checked when the model is used.",
        )
        return None
    return check_checkpoints


def _checkpoint_cleaner(context: Context) -> bundle.Clean | None:
    """What takes names of cases and paths out of checkpoints; without torch they can't be opened."""
    try:
        from segautoconfiglib.networks.checkpoint import read_checkpoint, write_checkpoint
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        context.report(
            "warning",
            message="The checkpoints were copied as they are, because torch is not installed.",
            hint="Where dataset.json lists the cases, checkpoints repeat the list.",
        )
        return None

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
    try:
        from segautoconfiglib.networks.v1 import convert_checkpoint, has_batch_norm
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    return lambda folder: convert_model(folder, convert_checkpoint, has_batch_norm)


def _warn_of_same_id(context: Context, name: str) -> None:
    """Commands that are given the number alone can't tell two datasets of one number apart."""
    try:
        context.workspace.dataset_name(dataset_id(name))
    except UserError as error:
        context.report("warning", message=error.message, hint=error.hint, action=error.action)
