"""``demo``: the whole line on a small synthetic dataset, or on a Decathlon folder of your own."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_device, duration

EPILOG = """examples:
  demo                                   about five minutes, everything in ./demo-output
  demo --data Task04_Hippocampus         the same with real data"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --output, --budget, --device, --seed."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="a Decathlon folder TaskXX_Name instead")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), metavar="FOLDER", help="default: demo-output"
    )
    parser.add_argument("--budget", type=duration, default=240.0, metavar="TIME", help="for the training (default: 4m)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another dataset")
    add_device(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Data, plan, train within the budget, predict cases never seen, evaluate, draw; then say where to look."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.base.workspace import Workspace
    from segautoconfiglib.cli.tables import print_evaluation
    from segautoconfiglib.dataset.description import load_description
    from segautoconfiglib.evaluation.pictures import draw_overlays

    output = arguments.output.absolute()
    context = replace(context, workspace=Workspace.at(output))
    raw = _held_out_dataset(context, arguments.data, arguments.seed)
    options = pipeline.TrainOptions(
        fold="all", budget_s=arguments.budget, device=arguments.device, seed=arguments.seed, overwrite=True
    )
    pipeline.train(context, raw.name, options)
    model = pipeline.find_model(context, raw.name, folds=["all"])
    images, truth = raw / "imagesTs", raw / "labelsTs"
    predictions = pipeline.predict(context, model, images, output / "predictions", device=arguments.device)
    summary = pipeline.evaluate(context, truth, predictions)
    description = load_description(model / "dataset.json")
    pictures = draw_overlays(images, truth, predictions, description, output / "pictures")
    curves = output / "curves.png"
    shutil.copyfile(model / "fold_all" / "progress.png", curves)
    context.report("artifact", path=str(curves), description="curves of the training")
    context.report("artifact", path=str(output / "pictures"), description=f"{len(pictures)} overlay pictures")
    if context.out:
        print_evaluation(summary, context.out)


def _held_out_dataset(context: Context, data: Path | None, seed: int) -> Path:
    """A raw dataset, synthetic or converted, with some cases kept for testing. Made once per output folder."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.dataset.convert import msd_dataset_name
    from segautoconfiglib.dataset.synthetic import hold_out_cases, make_demo_dataset

    name = "Dataset999_Demo" if data is None else msd_dataset_name(data)
    folder = context.workspace.raw / name
    if (folder / "dataset.json").exists():
        context.report("log", message=f"Using the dataset in {folder}.")
    elif data is None:
        make_demo_dataset(folder, seed=seed, report=context.report, cancel=context.cancel)
    else:
        pipeline.convert_msd(context, data)
    if data is not None:
        hold_out_cases(folder, seed=seed)
    return folder
