"""Mean of the probabilities that several models have saved, and the labels that follow from it.

The files of a case are read side by side, class after class and a few million voxels at a time. Memory is needed for
the labels and the best mean so far, whatever the number of classes and of models.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError, naming
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import choose_workers, map_cases
from segautoconfiglib.base.records import atomic_path, checked_folder, copy_file
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import visible_files
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import EVALUATION
from segautoconfiglib.image.files import write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.preprocessing.geometry import file_geometry
from segautoconfiglib.preprocessing.safe_pickle import load_pickle

STAGE = "ensemble"
KEY = "probabilities"
MEMBER = f"{KEY}.npy"
DATASET_FILE, PLANS_FILE = "dataset.json", "plans.json"
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError, NotImplementedError)
AGAIN = "Predict the case again with probabilities (predict --save_probabilities)."

#: Memory that a case takes: best mean (4), labels (2), comparison (1), and copies of the labels for the file.
BYTES_PER_VOXEL = 12


@dataclass
class ProbabilityStream:
    """The probabilities of a case in a file, from the first voxel of the first class on.

    Attributes:
        file: Where they are.
        shape: (class, z, y, x).
    """

    file: Path
    shape: tuple[int, ...]
    _stream: IO[bytes]
    _dtype: np.dtype

    def read(self, voxels: int) -> np.ndarray:
        """The next voxels, float32, not shared. Raises: UserError: the file is damaged."""
        wanted = voxels * self._dtype.itemsize
        try:
            content = self._stream.read(wanted)
        except DAMAGE as error:
            raise _damaged(self.file, error) from error
        if len(content) != wanted:
            raise _damaged(self.file, "it ends early")
        return np.frombuffer(content, self._dtype).astype(np.float32)


@contextmanager
def open_probabilities(file: Path) -> Iterator[ProbabilityStream]:
    """Open ``<case>.npz`` of nnU-Net or of this program for reading bit by bit.

    Raises:
        UserError: missing, damaged, or without probabilities.
    """
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(file)).open(MEMBER))
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, turned, dtype = header(stream)
            if dtype.kind != "f" or len(shape) != 4:
                raise ValueError(f"{KEY} has the shape {shape} and the type {dtype}")
            if turned and np.prod(shape):  # numpy writes some arrays of few voxels like this: the last axis first
                content = np.frombuffer(stream.read(), dtype).reshape(shape, order="F")
                stream = stack.enter_context(io.BytesIO(content.tobytes()))
        except FileNotFoundError as error:
            raise UserError(f"{file} does not exist.", AGAIN) from error
        except DAMAGE as error:
            raise _damaged(file, error) from error
        yield ProbabilityStream(file, shape, stream, dtype)


def ensemble_folders(
    folders: Sequence[Path],
    output: Path,
    *,
    cases: Sequence[str] | None = None,
    save_probabilities: bool = False,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Average the probabilities in several folders of predictions.

    Args:
        folders: With the same ``<case>.npz``; the first one's dataset.json, plans.json and ``<case>.pkl`` count.
        output: Gets the label maps, dataset.json and plans.json.
        cases: Only these; None: all, and every folder must have all.
        save_probabilities: Also write the mean as ``<case>.npz``, and ``<case>.pkl``.
        workers: Processes; None as many as cores and memory allow.
        report: Gets started, progress per case and artifact.
        cancel: Asked between cases.

    Returns:
        The label files, by case.

    Raises:
        UserError: a folder is unusable, or a file is damaged.
        ProblemsError: cases are missing in some of the folders.
    """
    output = Path(output)
    for folder in folders:
        if checked_folder(folder).absolute() == output.absolute():
            raise UserError(f"{output} is one of the folders to average.", "Choose another output folder.")
    files = [{file.stem: file for file in visible_files(Path(folder), ".npz")} for folder in folders]
    empty = [str(folder) for folder, found in zip(folders, files, strict=True) if not found]
    if empty:
        raise UserError(f"There are no probabilities (.npz) in {', '.join(empty)}.", AGAIN)
    description = load_description(Path(folders[0]) / DATASET_FILE)
    for folder in folders[1:]:
        _check_same_labels(Path(folders[0]), Path(folder), description)
    wanted = sorted({case for found in files for case in found} if cases is None else set(cases))
    missing = [
        Problem(f"there is no {Path(folder) / case}.npz.", case=case)
        for case in wanted
        for folder, found in zip(folders, files, strict=True)
        if case not in found
    ]
    if missing:
        raise ProblemsError("The folders do not hold the same cases:", missing, "Give folders of the same images.")
    if not wanted:
        raise UserError(f"There are no probabilities (.npz) in {folders[0]}.", AGAIN)
    return ensemble_cases(
        {case: [found[case] for found in files] for case in wanted},
        output,
        description,
        plans_file=Path(folders[0]) / PLANS_FILE,
        save_probabilities=save_probabilities,
        workers=workers,
        report=report,
        cancel=cancel,
    )


def ensemble_cases(
    cases: Mapping[str, Sequence[Path]],
    output: Path,
    description: DatasetDescription,
    *,
    plans_file: Path,
    save_probabilities: bool = False,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Average the probabilities of cases.

    Args:
        cases: Name of a case to its ``.npz`` files; beside the first one lies its ``.pkl`` with the geometry.
        output: As in :func:`ensemble_folders`.
        description: Says what the classes mean and in which format labels are written.
        plans_file: Is copied, if it is there.
        save_probabilities: As there.
        workers: As there.
        report: As there.
        cancel: As there.

    Returns:
        The label files, in the order of ``cases``.
    """
    spec, ending = description.label_spec, description.file_ending
    output.mkdir(parents=True, exist_ok=True)
    description.save(output / DATASET_FILE)
    if plans_file.is_file():
        copy_file(plans_file, output / PLANS_FILE)
    largest = max((members[0] for members in cases.values()), key=lambda file: file.stat().st_size)
    with open_probabilities(largest) as stream:
        voxels = int(np.prod(stream.shape[1:]))
    tasks = [(case, (case, members, output, spec, ending, save_probabilities)) for case, members in cases.items()]
    files = map_cases(
        ensemble_case,
        tasks,
        workers=choose_workers(BYTES_PER_VOXEL * voxels, workers),
        stage=STAGE,
        report=report,
        cancel=cancel,
    )
    report("artifact", path=str(output), description=f"{counted(len(files), 'segmentation')} from means")
    return files


def ensemble_case(
    case: str, members: Sequence[Path], output: Path, spec: LabelSpec, ending: str, save_probabilities: bool = False
) -> Path:
    """Average one case and write ``<case><ending>`` last. Returns: that file. Raises: UserError: a file is unusable."""
    label_file = output / f"{case}{ending}"
    try:
        properties = members[0].with_suffix(".pkl")
        geometry = _geometry(properties)
        with ExitStack() as stack:
            streams = [stack.enter_context(open_probabilities(file)) for file in members]
            shape = _common_shape(streams, spec)
            sink = stack.enter_context(_mean_file(output / f"{case}.npz", shape)) if save_probabilities else None
            means = (_means(streams, int(np.prod(shape[1:])), sink) for _ in range(shape[0]))
            labels = _region_labels(means, shape, spec) if spec.has_regions else _winning_labels(means, shape)
        if save_probabilities:
            copy_file(properties, output / f"{case}.pkl")
        write_labels(labels.reshape(shape[1:]), label_file, geometry)
    except UserError as error:
        raise naming(case, error) from error
    return label_file


#: Means of one class: (which voxels, their float32 values), in order.
Means = Iterator[tuple[slice, np.ndarray]]


def _means(streams: Sequence[ProbabilityStream], voxels: int, sink: IO[bytes] | None) -> Means:
    """Read one class of all members."""
    step = EVALUATION.count_chunk_voxels
    for start in range(0, voxels, step):
        part = slice(start, min(start + step, voxels))
        mean = streams[0].read(part.stop - start)
        for stream in streams[1:]:
            mean += stream.read(part.stop - start)
        mean /= len(streams)
        if sink is not None:
            sink.write(mean.tobytes())
        yield part, mean


def _winning_labels(classes: Iterator[Means], shape: Sequence[int]) -> np.ndarray:
    """The class with the largest mean per voxel, the first of equal ones; flat."""
    voxels = int(np.prod(shape[1:]))
    labels = np.zeros(voxels, np.uint8 if shape[0] <= 255 else np.uint16)
    best = np.full(voxels, -np.inf, np.float32)
    for label, means in enumerate(classes):
        for part, mean in means:
            labels[part][mean > best[part]] = label
            np.maximum(best[part], mean, out=best[part])
    return labels


def _region_labels(classes: Iterator[Means], shape: Sequence[int], spec: LabelSpec) -> np.ndarray:
    """Regions with a mean above 0.5 written one over the other; flat."""
    labels = np.zeros(int(np.prod(shape[1:])), np.uint16)
    for label, means in zip(spec.regions_class_order, classes, strict=True):
        for part, mean in means:
            labels[part][mean > 0.5] = label
    return labels


@contextmanager
def _mean_file(file: Path, shape: Sequence[int]) -> Iterator[IO[bytes]]:
    """``file`` as numpy's savez_compressed writes it, to be filled with float32 values in order."""
    header = {"descr": npy.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": tuple(shape)}
    with (
        atomic_path(file) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(MEMBER, "w", force_zip64=True) as stream,
    ):
        npy.write_array_header_1_0(stream, header)
        yield stream


def _common_shape(streams: Sequence[ProbabilityStream], spec: LabelSpec) -> tuple[int, ...]:
    """Raises: UserError: the files differ in shape, or the classes are not those of ``spec``."""
    first = streams[0]
    for other in streams[1:]:
        if other.shape != first.shape:
            raise UserError(
                f"{first.file} has the shape {first.shape}, {other.file} {other.shape} (class, z, y, x).",
                "Average predictions of the same image with the same labels.",
            )
    if first.shape[0] != spec.output_channels:
        raise UserError(
            f"{first.file} has {counted(first.shape[0], 'channel')}, dataset.json describes {spec.output_channels}.",
            "The dataset.json beside the probabilities must be that of the model.",
        )
    return first.shape


def _check_same_labels(first: Path, other: Path, description: DatasetDescription) -> None:
    file, expected = other / DATASET_FILE, description.label_spec
    if not file.is_file():
        return
    found = load_description(file).label_spec
    if (found.foreground, found.regions_class_order) != (expected.foreground, expected.regions_class_order):
        raise UserError(
            f"{first} and {other} hold predictions of different labels.", "Compare the labels in their dataset.json."
        )


def _geometry(properties: Path) -> Geometry:
    """The place of a case in space, from its ``.pkl``."""
    content = load_pickle(properties, remedy=AGAIN)
    try:
        return file_geometry(content)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(properties, error) from error


def _damaged(file: Path, why: object) -> UserError:
    return UserError(f"{file} holds no usable probabilities: {why}.", AGAIN)
