"""dataset_fingerprint.json: what planning needs to know of the training images, in nnU-Net's format."""

from __future__ import annotations

from segautoconfiglib.base.records import Record


class Fingerprint(Record):
    """The measured properties of a dataset. Axes are those of the files, (z, y, x); cases in the dataset's order.

    Attributes:
        foreground_intensity_properties_per_channel: Per channel number (as text): mean, median, std, min, max,
            percentile_00_5 and percentile_99_5 of the intensities of labelled voxels.
        median_relative_size_after_cropping: Voxels left by cropping to what is not zero, as a share.
        shapes_after_crop: Voxels.
        spacings: Millimetres.
        sources: Of the files that were measured (`dataset.sources.sources_digest`); None in nnU-Net's own files.
    """

    foreground_intensity_properties_per_channel: dict[str, dict[str, float]]
    median_relative_size_after_cropping: float
    shapes_after_crop: tuple[tuple[int, int, int], ...]
    spacings: tuple[tuple[float, float, float], ...]
    sources: str | None = None
