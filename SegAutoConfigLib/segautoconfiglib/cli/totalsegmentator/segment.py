"""TotalSegmentator's main command."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.options import above_zero, positive, whole_number
from segautoconfiglib.cli.totalsegmentator.command import UNTOUCHED, Command, add_weights
from segautoconfiglib.cli.totalsegmentator.info import show_classes, show_tasks

#: Size of small blobs where the option has no number: the usual one.
USUAL = True
EPILOG = """Weights are fetched once, with totalseg_download_weights -t TASK. totalseg_info lists the tasks.

If you use the tasks please cite Wasserthal et al., Radiology: Artificial Intelligence 5 (2023), e230024."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TotalSegmentator's flags."""
    parser.epilog = EPILOG
    parser.add_argument(
        "-i", dest="input", type=Path, metavar="PATH", help="image file, or folder or zip file of a DICOM series"
    )
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="PATH",
        help="folder for one file per structure; with --ml, or DICOM output, a file (or a folder for it)",
    )  # fmt: skip
    parser.add_argument(
        "-ta", "--task", default="total", metavar="TASK", help="what to find; totalseg_info lists the tasks"
    )
    parser.add_argument("-lt", "--list-tasks", action="store_true", help="list the tasks, as totalseg_info does")
    parser.add_argument(
        "-lc", "--list-classes", nargs="?", const="total", metavar="TASK", help="list the structures of a task"
    )
    parser.add_argument("--version", action="version", version=_version())
    add_weights(parser)
    _add_speed(parser)
    _add_region(parser)
    _add_output(parser)
    _add_statistics(parser)
    _add_others(parser)


def _add_speed(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed and quality")
    group.add_argument("-f", "--fast", action="store_true", help="models of 3 mm voxels (6 mm for body)")
    group.add_argument("-ff", "--fastest", action="store_true", help="models of 6 mm voxels")
    group.add_argument("-ms", "--model_size", default="big", metavar="SIZE", help="big or small, of the task total_v3")
    group.add_argument("-d", "--device", default="gpu", help="gpu (the processor where there is none), cpu, mps, gpu:1")
    group.add_argument(
        "-ro", "--resampling_order", type=whole_number, default=1, metavar="ORDER",
        help="of the spline that resamples the image, 0 to 5 (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "-ho", "--higher_order_resampling", "--high_order_resampling", action="store_true",
        help="let the networks' own rules resample image and result: smoother, slower",
    )  # fmt: skip
    group.add_argument(
        "-fs", "--force_split", action="store_true", help="segment the image in three pieces: less memory"
    )


def _add_region(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is searched, and where")
    group.add_argument("-rs", "--roi_subset", nargs="+", metavar="NAME", help="only these structures (task total...)")
    group.add_argument("-rsr", "--roi_subset_robust", nargs="+", metavar="NAME", help="the same, with --robust_crop")
    group.add_argument(
        "-rc", "--robust_crop", action="store_true", help="find the surroundings of structures with a finer model"
    )
    group.add_argument("-bs", "--body_seg", action="store_true", help="crop the image to the body first")
    group.add_argument(
        "-rmb", "--remove_small_blobs", nargs="?", const=USUAL, default=False, type=above_zero, metavar="MM3",
        help="remove connected parts of structures up to this size (default: 200)",
    )  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("-ml", "--ml", action="store_true", help="one file with all structures and their names")
    group.add_argument(
        "-ot", "--output_type", nargs="+", default=["nifti"], metavar="TYPE",
        help="nifti, dicom_seg, dicom_rtstruct; several with blanks or commas",
    )  # fmt: skip
    group.add_argument("-sl", "--save_lowres", action="store_true", help="keep the voxels of a fast model")
    group.add_argument("-ss", "--skip_saving", action="store_true", help="write no label files")
    group.add_argument(
        "-ndm", "--no_derived_masks", action="store_true", help="leave out body and skin (task body, one file each)"
    )
    group.add_argument("-v1o", "--v1_order", action="store_true", help="labels with the numbers of version 1")
    group.add_argument("-p", "--preview", action="store_true", help="draw a picture: preview_TASK.png")
    group.add_argument("-q", "--quiet", action="store_true", help="show warnings and errors only")
    group.add_argument(
        "-ns", "--nr_thr_saving", type=positive, metavar="N",
        help="files that are written side by side (default: as cores and memory allow)",
    )  # fmt: skip


def _add_statistics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("statistics")
    group.add_argument(
        "-s", "--statistics", nargs="?", const=True, default=False, metavar="FILE",
        help="volume (mm3) and mean intensity of every structure (default: statistics.json in the output folder)",
    )  # fmt: skip
    group.add_argument(
        "-sii", "--stats_include_incomplete", action="store_true", help="also of what the image's border cuts"
    )
    group.add_argument(
        "-sa", "--stats_aggregation", choices=("mean", "median"), default="mean", help="of intensities (default: mean)"
    )
    group.add_argument(
        "-sx", "--statistics_extra", action="store_true", help="also number of voxels, spread, centroid and box"
    )
    group.add_argument("-rp", "--report", type=Path, metavar="FILE", help="write down as JSON what was done")


def _add_others(parser: argparse.ArgumentParser) -> None:
    """What changes nothing, or is refused; ``tasks.wishes`` has the reasons."""
    group = parser.add_argument_group("taken, without effect")
    group.add_argument("-nr", "--nr_thr_resamp", type=int, default=1, metavar="N", help="no effect")
    group.add_argument("-cp", "--crop_path", metavar="FOLDER", help="no effect")
    group.add_argument("-t", "--nora_tag", metavar="ID", help="no effect")
    group.add_argument("-l", "--license_number", metavar="KEY", help="no effect: none is needed for weights you have")
    for flags in (("-v", "--verbose"), ("--debug",)):
        group.add_argument(*flags, action="store_true", help="no effect")
    group.add_argument("--test", type=int, default=0, metavar="N", help="no effect")
    group = parser.add_argument_group("refused, with a remedy")
    group.add_argument("-r", "--radiomics", action="store_true", help="not available")
    group.add_argument("-sp", "--save_probabilities", metavar="FILE", help="not available")
    group.add_argument(
        "--higher_order_resampling_LEGACY", "--high_order_resampling_LEGACY", action="store_true", help="not available"
    )


def run(arguments: argparse.Namespace, context: Context) -> None:
    """TotalSegmentator."""
    if arguments.list_tasks:
        show_tasks(context, arguments)
        return
    if arguments.list_classes is not None:
        show_classes(context, arguments.list_classes)
        return
    lacking = [flag for flag, value in (("-i", arguments.input), ("-o", arguments.output)) if value is None]
    if lacking:
        raise UserError(f"Missing: {' and '.join(lacking)}.", "TotalSegmentator -i IMAGE -o OUTPUT -ta TASK")
    from dataclasses import fields

    from segautoconfiglib.pipeline.task_segment import segment_task
    from segautoconfiglib.tasks.wishes import REFUSED, Wishes

    names = {*(field.name for field in fields(Wishes)), *REFUSED}
    wishes = Wishes.of(**{name: value for name, value in vars(arguments).items() if name in names})
    segment_task(context, arguments.input, arguments.output, arguments.task, wishes, weights=arguments.weights)


def _version() -> str:
    from segautoconfiglib import __version__
    from segautoconfiglib.tasks.catalogue import load_catalogue

    return f"segautoconfiglib {__version__}, with the tasks of TotalSegmentator {load_catalogue().version}"


COMMANDS = {"TotalSegmentator": Command(add_arguments, run, UNTOUCHED)}
