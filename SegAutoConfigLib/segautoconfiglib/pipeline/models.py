"""Models as files: export and import. Listing, renaming and deleting are in models/ alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.base.workspace import DATASET_NAME, dataset_id
from segautoconfiglib.models import bundle, install
from segautoconfiglib.models.folder import FINAL, Fold, ModelFolder
from segautoconfiglib.models.listing import model_row


def export_models(
    context: Context,
    models: Sequence[Path],
    file: Path,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoints: Sequence[str] = (FINAL,),
    predictions: bool = False,
) -> Path:
    """Write models to a zip file that nnU-Net installs, too; see `segautoconfiglib.models.bundle.export_models`."""
    written = bundle.export_models(
        [ModelFolder.open(model) for model in models],
        file,
        folds=folds,
        checkpoints=checkpoints,
        predictions=predictions,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage=bundle.STAGE, file=str(written), size_mb=round(written.stat().st_size / 1e6, 1))
    return written


def import_models(
    context: Context, file: Path, *, dataset: str | None = None, overwrite: bool = False
) -> list[ModelFolder]:
    """Put the models of a zip file into the workspace, after checking everything about them.

    Args:
        context: Its workspace gets them.
        file: Of nnU-Net or of this program.
        dataset: Name of the dataset to put them under, or the number or name of one that there is.
        overwrite: Replace models of the same name.

    Raises:
        UserError: see :func:`~segautoconfiglib.models.install.import_models`.
    """
    if dataset is not None and not DATASET_NAME.fullmatch(dataset):
        dataset = context.workspace.dataset_name(dataset)
    models = install.import_models(
        file,
        context.workspace,
        dataset=dataset,
        overwrite=overwrite,
        check=_checkpoint_check(context),
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


def _checkpoint_check(context: Context) -> Callable[[ModelFolder], None] | None:
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


def _warn_of_same_id(context: Context, name: str) -> None:
    """Commands that are given the number alone can't tell two datasets of one number apart."""
    try:
        context.workspace.dataset_name(dataset_id(name))
    except UserError as error:
        context.report("warning", message=error.message, hint=error.hint, action=error.action)
