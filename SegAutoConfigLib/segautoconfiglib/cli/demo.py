"""``demo``: the whole line on a small synthetic dataset, or on a Decathlon folder of your own."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.options import add_device, duration, seed

EPILOG = """examples:
  demo                                   about five minutes, everything in ./demo-output
  demo --data Task04_Hippocampus         the same with real data, some cases of it held out for the test

Run again, it trains anew with the same data. Other data, or another seed, need another --output.
nnU-Net's environment variables have no effect on it."""

#: In the output folder: the data and the seed that everything beside it was made with.
DEMO_FILE = "demo.json"
PREDICTIONS, PICTURES = "predictions", "pictures"
MOST_PICTURES = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --output, --budget, --device, --seed."""
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="a Decathlon folder TaskXX_Name (default: synthetic volumes)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER",
        help="for everything that is made; datasets and models go to --workspace if that is given "
        "(default: --workspace, else demo-output)",
    )  # fmt: skip
    parser.add_argument("--budget", type=duration, default=240.0, metavar="TIME", help="for the training (default: 4m)")
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N",
        help="of the synthetic volumes, of the choice of held-out cases and of the training (default: 0)",
    )  # fmt: skip
    add_device(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Data, plan, train within the budget, predict cases never seen, evaluate, draw; then say where to look."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.base.records import copy_file
    from segautoconfiglib.base.workspace import Workspace
    from segautoconfiglib.cli.tables import print_evaluation
    from segautoconfiglib.inference.run import PredictOptions

    output = (arguments.output or arguments.workspace or Path("demo-output")).absolute()
    context = replace(context, workspace=Workspace.at(arguments.workspace or output))
    raw = _held_out_dataset(context, output, arguments.data, arguments.seed)
    options = pipeline.TrainOptions(
        fold="all", budget_s=arguments.budget, device=arguments.device, seed=arguments.seed, overwrite=True
    )
    pipeline.train(context, raw.name, options)
    model = pipeline.find_model(context, raw.name, folds=["all"])
    images, truth = raw / "imagesTs", raw / "labelsTs"
    fast = PredictOptions(mirror=False)  # mirrored images would take up to eight times as long
    predictions = pipeline.predict(context, model, images, output / PREDICTIONS, device=arguments.device, options=fast)
    summary = pipeline.evaluate(context, truth, predictions)
    shutil.rmtree(output / PICTURES, ignore_errors=True)  # of an earlier run
    pipeline.draw_predictions(context, raw.name, predictions, output / PICTURES, most=MOST_PICTURES)
    copy_file(model / "fold_all" / "progress.png", output / "curves.png")
    context.report("artifact", path=str(output / "curves.png"), description="curves of the training")
    if context.out:
        print_evaluation(summary, context.out)


def _held_out_dataset(context: Context, output: Path, data: Path | None, seed: int) -> Path:
    """A raw dataset, synthetic or converted, with some cases kept for testing. Made once per output folder."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.dataset.convert import msd_dataset_name
    from segautoconfiglib.dataset.synthetic import hold_out_cases, make_demo_dataset

    name = "Dataset999_Demo" if data is None else msd_dataset_name(data)
    folder = context.workspace.raw / name
    _claim(output, folder, {"data": None if data is None else str(data.absolute()), "seed": seed})
    _remove_unfinished((output, *folder.glob("*"), output / PREDICTIONS, output / PICTURES))
    if (folder / "dataset.json").exists():
        context.report("log", message=f"Using the dataset in {folder}.")
    elif data is None:
        make_demo_dataset(folder, seed=seed, report=context.report, cancel=context.cancel)
    else:
        pipeline.convert_msd(context, data)
    if data is not None:
        hold_out_cases(folder, seed=seed)
    return folder


def _claim(output: Path, dataset: Path, content: dict[str, Any]) -> None:
    """Write down what the output is made from.

    Raises:
        UserError: there is something already, and it was made from something else.
    """
    from segautoconfiglib.base.records import read_json, write_json

    file = output / DEMO_FILE
    if file.is_file() and read_json(file) == content:
        return
    for folder in (dataset, output / PREDICTIONS, output / PICTURES):
        if folder.exists():
            raise UserError(
                f"{folder} exists and was not made by a demo with this data and seed.",
                "Choose another folder with --output, or delete this one.",
            )
    write_json(file, content)


def _remove_unfinished(folders: Iterable[Path]) -> None:
    """Files that a run was killed while writing."""
    for folder in folders:
        for file in folder.glob(".partial-*"):
            file.unlink(missing_ok=True)
