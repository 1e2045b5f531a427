"""``overlays DATASET``: pictures of the cases with their labels, or of predictions beside the truth."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, add_workers, positive, share, whole_number

EPILOG = """examples:
  overlays 4 -o pictures                             every training case
  overlays 4 -o pictures --preprocessed              as the network sees them
  overlays 4 -o pictures --predictions out           beside the truth, worst case first (001_...)
  overlays 4 -o pictures --predictions out --most 10 the ten worst cases alone

Truth and images of predictions are looked for in the dataset (labelsTr, labelsTs, imagesTr, imagesTs)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, -o, what to draw."""
    add_dataset(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="for the PNG files")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--predictions", type=Path, metavar="FOLDER", help="draw these, beside the truth")
    what.add_argument("--preprocessed", action="store_true", help="draw the preprocessed cases")
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="of the predictions (default: those of the dataset)"
    )
    parser.add_argument(
        "--truth", type=Path, metavar="FOLDER", help="for the predictions (default: the labels of the dataset)"
    )
    parser.add_argument("--most", type=positive, metavar="N", help="of the predictions, draw only the N worst")
    parser.add_argument("--plans", "-p", default="nnUNetPlans", metavar="NAME", help="for --preprocessed")
    parser.add_argument(
        "--configuration", "-c", metavar="NAME", help="for --preprocessed (default: 3d_fullres, else 2d)"
    )
    parser.add_argument(
        "--channel", type=whole_number, default=0, metavar="N", help="of the image, from 0 (default: 0)"
    )
    parser.add_argument(
        "--intensity", type=share, default=0.6, metavar="SHARE", help="opacity of the labels, 0 to 1 (default: 0.6)"
    )
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Draw."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.base.errors import UserError

    if arguments.predictions is None and (arguments.images or arguments.truth or arguments.most):
        raise UserError("--images, --truth and --most belong to --predictions.", "Give --predictions FOLDER, too.")
    options = pipeline.OverlayOptions(arguments.channel, arguments.intensity, arguments.workers)
    if arguments.predictions is not None:
        pipeline.draw_predictions(
            context,
            arguments.dataset,
            arguments.predictions,
            arguments.output,
            options,
            images=arguments.images,
            truth=arguments.truth,
            most=arguments.most,
        )
    elif arguments.preprocessed:
        pipeline.draw_preprocessed(
            context,
            arguments.dataset,
            arguments.output,
            options,
            plans_name=arguments.plans,
            configuration=arguments.configuration,
        )
    else:
        pipeline.draw_dataset(context, arguments.dataset, arguments.output, options)
