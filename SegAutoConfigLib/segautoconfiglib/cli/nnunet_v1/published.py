"""The models that the authors of nnU-Net v1 have published on Zenodo (doi 10.5281/zenodo.4003545 and 4288464)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import command

MSD = "Medical Segmentation Decathlon, medicaldecathlon.com"
CELLS = "Cell Tracking Challenge, celltrackingchallenge.net"


@dataclass(frozen=True)
class Published:
    """A model.

    Attributes:
        images: What it is made for, channel by channel.
        structures: What it segments.
        source: Of the training data; their licence holds for the model, too.
        file: In the record, without .zip; empty: the task's name.
        record: On Zenodo.
    """

    images: str
    structures: str
    source: str
    file: str = ""
    record: int = 4003545


PUBLISHED = {
    "Task001_BrainTumour": Published("FLAIR, T1, T1 with contrast, T2", "edema, enhancing tumour, necrosis", MSD),
    "Task002_Heart": Published("MRI", "left atrium", MSD),
    "Task003_Liver": Published("CT", "liver, tumours", MSD),
    "Task004_Hippocampus": Published("MRI", "anterior and posterior hippocampus", MSD),
    "Task005_Prostate": Published("T2, ADC", "peripheral zone, transition zone", MSD),
    "Task006_Lung": Published("CT", "lung nodules", MSD),
    "Task007_Pancreas": Published("CT", "pancreas, tumours", MSD),
    "Task008_HepaticVessel": Published("CT", "vessels of the liver, tumours", MSD),
    "Task009_Spleen": Published("CT", "spleen", MSD),
    "Task010_Colon": Published("CT", "colon cancer", MSD),
    "Task017_AbdominalOrganSegmentation": Published(
        "CT", "13 abdominal organs", "Beyond the Cranial Vault, synapse.org syn3193805"
    ),
    "Task024_Promise": Published("T2", "prostate", "PROMISE12, promise12.grand-challenge.org"),
    "Task027_ACDC": Published("cine MRI", "both ventricles, left myocardium", "ACDC, acdc.creatis.insa-lyon.fr"),
    "Task029_LiTS": Published(
        "CT", "liver, tumours", "LiTS, competitions.codalab.org/competitions/17094", file="Task029_LITS"
    ),
    "Task035_ISBILesionSegmentation": Published(
        "FLAIR, MPRAGE, PD, T2", "lesions of multiple sclerosis", "ISBI 2015, smart-stats-tools.org/lesion-challenge"
    ),
    "Task038_CHAOS_Task_3_5_Variant2": Published(
        "T1 in phase, T1 out of phase or T2", "liver, spleen, both kidneys", "CHAOS, chaos.grand-challenge.org"
    ),
    "Task048_KiTS_clean": Published("CT", "kidney, tumours", "KiTS19, kits19.grand-challenge.org"),
    "Task055_SegTHOR": Published(
        "CT", "aorta, oesophagus, heart, trachea", "SegTHOR, competitions.codalab.org/competitions/21145"
    ),
    "Task061_CREMI": Published("electron microscopy", "synaptic clefts", "CREMI, cremi.org"),
    "Task075_Fluo_C3DH_A549_ManAndSim": Published("fluorescence microscopy", "cells", CELLS),
    "Task076_Fluo_N3DH_SIM": Published("fluorescence microscopy", "centres and borders of cells", CELLS),
    "Task089_Fluo-N2DH-SIM_thickborder_time": Published(
        "fluorescence microscopy, five frames", "centres and borders of nuclei", CELLS
    ),
    "Task114_heart_MNMs": Published(
        "short-axis MRI", "both ventricles, left myocardium", "M&Ms, ub.edu/mnms", record=4288464
    ),
}


def address(task: str) -> str:
    """Where the zip file of a published model is. Raises: UserError: none of this name."""
    name = published(task)
    model = PUBLISHED[name]
    return f"https://zenodo.org/records/{model.record}/files/{model.file or name}.zip?download=1"


def published(task: str) -> str:
    """The task as `PUBLISHED` writes it, for Task04_Hippocampus, too. Raises: UserError: no model has such a name."""
    wanted = _parts(task)
    for name in PUBLISHED:
        if _parts(name) == wanted:
            return name
    raise UserError(
        f"There is no published model {task!r}.",
        f"Published: {', '.join(PUBLISHED)}. Others: {command('nnUNet_download_pretrained_model_by_url', 'URL')}.",
    )


def _parts(task: str) -> tuple[int, str] | None:
    """Number and name of TaskXXX_Name, however many digits it has and whether the letters are large or small."""
    match = re.fullmatch(r"Task(\d+)_(.+)", task.strip(), re.IGNORECASE)
    return (int(match[1]), match[2].casefold()) if match else None
