"""TotalSegmentator's commands that there are none of here: they take their flags and say why."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.totalsegmentator.command import Command

REPORT = (
    "It needs models of another kind, or makes a report for one use.",
    "Segment with TotalSegmentator -ta TASK --statistics, and go on from there.",
)
LICENCE = (
    "No licence key is needed to use weights that you have, and weights that need one are not fetched.",
    "A zip file of them: totalseg_import_weights -i FILE.zip.",
)
_SPINE = (
    "-i --ct_path -n --nodeinfo -o --output_nifti -j --output_json -l --output_log -tmp --tmp_dir -t --test "
    "-r --save_runtime --debug"
)
_VESSELS = f"{_SPINE} -rt --rois_totalseg -rd --rois_details -rm --run_models -mp --models_parallel -a -d"
#: Command -> its flags.
FLAGS = {
    "totalseg_set_license": "-l --license_number -sv --skip_validation",
    "totalseg_get_phase": "-i -o -m -s -d --device -q --call_via_subprocess --debug",
    "totalseg_get_modality": "-i -o -d --device -q -n",
    "totalseg_get_body_stats": "-i -o -mf -m -mt --model_type --only_weight -sc --skip_canonical -tta "
    "--test_time_augmentation --debug -s -d --device -f --fold -q -l --license_number --call_via_subprocess",
    "totalseg_evans_index": "-i --ct_img -o --output_file -p --preview_file -v --verbose",
    "totalseg_spine_report": f"{_SPINE} -on --original_nifti_path -sr --spine_range -tp --totalseg_parallel",
    "totalseg_aorta_report": f"{_VESSELS} -c --cpr -ca --cpr_animated --aorta_fn -an --annulus_fn -e --erosion "
    "-sd --skip_dissection",
    "totalseg_pulmonary_report": f"{_VESSELS} --pulmonary_fn --host",
}


def _add_flags(parser: argparse.ArgumentParser, flags: str) -> None:
    for flag in flags.split():
        parser.add_argument(flag, nargs="*", metavar="VALUE", help="no effect")


def _refusal(reason: str, hint: str) -> Callable[[argparse.Namespace, Context], NoReturn]:
    def refuse(arguments: argparse.Namespace, context: Context) -> NoReturn:
        raise UserError(f"This command is not available. {reason}", hint)

    return refuse


COMMANDS = {
    name: Command(partial(_add_flags, flags=flags), _refusal(*(LICENCE if name == "totalseg_set_license" else REPORT)))
    for name, flags in FLAGS.items()
}
