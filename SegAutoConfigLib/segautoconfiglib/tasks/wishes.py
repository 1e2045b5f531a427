"""TotalSegmentator's options, under its names: how a task is run, and which files come out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import near_names
from segautoconfiglib.image.resample_axes import SplineOrder
from segautoconfiglib.tasks.options import SMALL_BLOB_MM3, TaskOptions
from segautoconfiglib.tasks.output.label_files import OutputType
from segautoconfiglib.tasks.output.statistics import Aggregation

#: Options of TotalSegmentator that change nothing here, and why.
WITHOUT_EFFECT = {
    "nr_thr_resamp": "as many threads as there are cores",
    "nora_tag": "there is no such viewer here",
    "crop_path": "rough masks are kept in memory",
    "quiet": "from Python nothing is shown that was not asked for; the command knows it",
    "verbose": "everything is reported anyway",
    "debug": "errors name the image and the task anyway",
    "license_number": "no key is needed to use weights that you have",
    "test": "",
}
#: Those that are refused: their values by default, why, and what to do instead.
REFUSED: dict[str, tuple[object, str, str]] = {
    "radiomics": (
        False,
        "Radiomics features are not computed here.",
        "Write one mask per structure, and give them to pyradiomics; --statistics has volume and intensity.",
    ),
    "save_probabilities": (
        None,
        "Probabilities of tasks are not kept: they are of parts of structures, on the grid of the networks.",
        "predict_image (from Python) gives those of one model.",
    ),
    "higher_order_resampling_LEGACY": (
        False,
        "The old way of resampling results is not here.",
        "Use --higher_order_resampling.",
    ),
    "statistics_normalized_intensities": (False, "Statistics of normalized intensities are not here.", "Leave it out."),
    "plans": ("nnUNetPlans", "Models of other plans are not here.", "Leave it out; see also --model_size."),
}
#: The dicom of older versions.
OLD_TYPES = {"dicom": "dicom_rtstruct"}
#: The contrary of stats_include_incomplete in older versions.
OLD_BORDER = "statistics_exclude_masks_at_border"
#: What the call takes besides.
OTHERS = ("input", "output", "task", "weights", "events", "cancel")


@dataclass(frozen=True)
class Wishes:
    """What a user of TotalSegmentator chooses besides image, output and task.

    Attributes:
        ml: One file with all structures instead of one per structure.
        output_type: "nifti", "dicom_seg" or "dicom_rtstruct"; several as a list or with commas.
        fast: Models of coarser voxels (3 mm); statistics are measured on these.
        fastest: Of the coarsest (6 mm).
        save_lowres: The result stays on the grid of a fast model.
        roi_subset: Only these structures.
        roi_subset_robust: The same, with ``robust_crop``.
        robust_crop: A finer model finds what the image is cropped to.
        body_seg: The image is cropped to the body.
        force_split: The image is segmented in three pieces: less memory.
        v1_order: Labels have the numbers of TotalSegmentator 1.
        remove_small_blobs: Size (mm³) up to which connected parts are removed; True for the usual one.
        higher_order_resampling: Smoother and slower; see `tasks.options.TaskOptions`.
        resampling_order: Of the image, 0 to 5.
        model_size: "big" or "small".
        device: "gpu" (the processor where there is none), "cpu", "mps", "gpu:1"; or as in --device of `predict`.
        statistics: Measure volume and intensity of all structures; a path: into this file.
        stats_include_incomplete: Also of those that the border of the image cuts.
        stats_aggregation: "mean" or "median" of the intensities.
        statistics_extra: Also number of voxels, spread, centroid and box.
        preview: Draw a picture of the structures.
        report: Write down what was done, into this file.
        skip_saving: Write no label files.
        no_derived_masks: Do not add body and skin to the masks of the task "body".
        nr_thr_saving: Files that are written side by side; None: as cores and memory allow.
    """

    ml: bool = False
    output_type: str | Sequence[str] = "nifti"
    fast: bool = False
    fastest: bool = False
    save_lowres: bool = False
    roi_subset: Sequence[str] | None = None
    roi_subset_robust: Sequence[str] | None = None
    robust_crop: bool = False
    body_seg: bool = False
    force_split: bool = False
    v1_order: bool = False
    remove_small_blobs: float | bool = False
    higher_order_resampling: bool = False
    resampling_order: int = 1
    model_size: str = "big"
    device: str = "gpu"
    statistics: bool | str | Path = False
    stats_include_incomplete: bool = False
    stats_aggregation: Aggregation = "mean"
    statistics_extra: bool = False
    preview: bool = False
    report: str | Path | None = None
    skip_saving: bool = False
    no_derived_masks: bool = False
    nr_thr_saving: int | None = None

    @classmethod
    def of(cls, **given: Any) -> Wishes:
        """Of TotalSegmentator's keyword arguments. Raises: UserError: one is refused; TypeError: one is unknown."""
        known = [*(field.name for field in fields(cls)), *WITHOUT_EFFECT, *REFUSED, OLD_BORDER]
        unknown = [name for name in given if name not in known]
        if unknown:
            near = near_names(unknown, [*known, *OTHERS])
            raise TypeError(f"totalsegmentator() has no argument {', '.join(map(repr, unknown))}. {near}".strip())
        for name, (usual, message, hint) in REFUSED.items():
            if given.pop(name, usual) != usual:
                raise UserError(message, hint)
        if OLD_BORDER in given:
            given["stats_include_incomplete"] = not given.pop(OLD_BORDER)
        return cls(**{name: value for name, value in given.items() if name not in WITHOUT_EFFECT})

    @property
    def types(self) -> tuple[OutputType, ...]:
        """The formats of the results, each once."""
        given = [self.output_type] if isinstance(self.output_type, str) else self.output_type
        words = [word for text in given for word in text.split(",") if word]
        return cast("tuple[OutputType, ...]", tuple(dict.fromkeys(OLD_TYPES.get(word, word) for word in words)))

    @property
    def subset(self) -> tuple[str, ...]:
        """The structures that are wanted; empty: all."""
        given = self.roi_subset_robust or self.roi_subset or ()
        if isinstance(given, str):
            raise UserError(f"The structures to be found are {given!r}.", "Give a list of names.")
        return tuple(dict.fromkeys(name for text in given for name in text.split(",") if name))

    @property
    def statistics_file(self) -> Path | None:
        """Where statistics go, if a place was named."""
        return None if isinstance(self.statistics, bool) else Path(self.statistics)

    def options(self) -> TaskOptions:
        """How the task is run. Raises: UserError: values that make no sense."""
        if self.model_size not in ("big", "small"):
            raise UserError(f"The model size is {self.model_size!r}.", "Give big or small.")
        return TaskOptions(
            fast=self.fast,
            fastest=self.fastest,
            small=self.model_size == "small",
            subset=self.subset,
            robust_crop=self.robust_crop or bool(self.roi_subset_robust),
            body_crop=self.body_seg,
            force_split=self.force_split,
            small_blobs_mm3=SMALL_BLOB_MM3 if self.remove_small_blobs is True else float(self.remove_small_blobs),
            higher_order=self.higher_order_resampling,
            order=cast(SplineOrder, self.resampling_order),
            v1_order=self.v1_order,
            low_resolution=self.save_lowres and not self.higher_order_resampling,
        )

    def check(self) -> None:
        """Raises: UserError: wishes that go with no task; :meth:`TaskOptions.check` knows what goes with one."""
        self.options().check_values()
        if self.save_lowres and any(kind != "nifti" for kind in self.types):
            raise UserError(
                "DICOM objects have the grid of their series, not a low resolution.",
                "Leave out --save_lowres, or write NIfTI.",
            )
        if self.stats_aggregation not in ("mean", "median"):
            raise UserError(f"Intensities are aggregated by {self.stats_aggregation!r}.", "Give mean or median.")

    def as_report(self) -> Mapping[str, Any]:
        """As TotalSegmentator's reports have them."""
        return {
            "fast": self.fast,
            "fastest": self.fastest,
            "save_lowres": self.options().low_resolution,
            "multilabel": self.ml,
            "output_type": self.types[0] if len(self.types) == 1 else list(self.types),
            "roi_subset": list(self.subset) or None,
        }


def device_name(word: str) -> str:
    """TotalSegmentator's word for a device as ours; others stay."""
    if word == "gpu":
        return "auto"
    numbered = re.fullmatch(r"gpu:([0-9]+)", word)
    return f"cuda:{numbered[1]}" if numbered else word
