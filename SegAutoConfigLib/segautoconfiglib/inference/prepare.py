"""Image files become arrays on the network's grid; no more of them are in memory at a time than it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from math import prod

import torch

from segautoconfiglib.base.errors import UserError, reworded
from segautoconfiglib.base.machine import free_memory
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.fingerprint.extract import check_finite
from segautoconfiglib.image.files import read_header, read_image
from segautoconfiglib.image.resample_image import small_products
from segautoconfiglib.inference.cascade import Prepared, PreviousLabels, WithLabels, network_input
from segautoconfiglib.inference.model import Model
from segautoconfiglib.networks.device import lacks_memory
from segautoconfiglib.preprocessing.geometry import SpatialRecord
from segautoconfiglib.preprocessing.run import peak_bytes
from segautoconfiglib.preprocessing.stages import PredictedStage
from segautoconfiglib.preprocessing.store import CaseStore

CPU = torch.device("cpu")

#: Part of the free memory that is planned with; the rest is for what other programs and the estimates below forget.
MEMORY_SHARE = 0.8

#: Arrays of logits of one row of tiles that exist at once: the sums, and finished slices that wait for interpolation.
LOGIT_COPIES = 3

#: Arrays as large as the first layer's output that the network holds at once: skip, upsampled, joined (two), output.
ACTIVATION_COPIES = 5


def prepare_case(case: Case, model: Model, previous: PreviousLabels | None = None) -> Prepared:
    """Read and preprocess a case.

    Args:
        case: Its images.
        model: That it is prepared for.
        previous: Of a cascade: finds the labels of the previous stage.

    Raises:
        UserError: a file can't be read or used, or the memory does not suffice.
    """
    with memory_errors(CPU, read_header(case.images[0]).shape):
        image = read_image(case.images)
        check_finite(image.array, case.id, case.images)
        return network_input(image, previous(case.id, image) if previous else None, model)


def prepared_cases(
    cases: Sequence[Case], model: Model, *, ahead: bool, previous: PreviousLabels | None = None
) -> Iterator[Prepared | UserError]:
    """Prepare cases one after the other; in place of one that can't be there is the reason, see `prepare_case`.

    Whoever lets go of a case before asking for the next one has two in memory at most: that one and the following.

    Args:
        cases: In order.
        model: That they are prepared for.
        ahead: Prepare the following case while this one is worked on, wherever the memory suffices for both.
        previous: As in `prepare_case`.
    """
    following: Future[Prepared | UserError] | None = None
    with small_products(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare") as pool:
        for number, case in enumerate(cases, start=1):
            prepared = _prepare(case, model, previous) if following is None else following.result()
            following = None
            if not ahead or number == len(cases) or isinstance(prepared, UserError):
                pass
            elif fits_beside(cases[number], prepared[1], model):
                following = pool.submit(_prepare, cases[number], model, previous)
            yield prepared
            del prepared


def _prepare(case: Case, model: Model, previous: PreviousLabels | None) -> Prepared | UserError:
    """A case, or why it can't be had, in a new error: the first one would keep the images alive."""
    try:
        return prepare_case(case, model, previous)
    except UserError as error:
        return reworded(error, error.message)


def stored_cases(
    store: CaseStore, case_ids: Sequence[str], previous: PredictedStage | None = None, values: Sequence[int] = ()
) -> Iterator[Prepared | UserError]:
    """Cases that are preprocessed already, one after the other; as `prepared_cases`.

    Args:
        store: Holds them.
        case_ids: Which.
        previous: Of a cascade: what the previous stage predicted for them.
        values: The foreground labels, of a cascade.
    """
    for case_id in case_ids:
        prepared: Prepared | UserError
        try:
            case = store.open(case_id)
            with memory_errors(CPU, case.record.file_shape):
                prepared = case.data[...], case.record
                if previous is not None:
                    prepared = WithLabels(prepared[0], previous.open(case_id)[...], values), case.record
        except UserError as error:
            prepared = reworded(error, error.message)
        yield prepared
        del prepared


def fits_beside(case: Case, predicted: SpatialRecord, model: Model) -> bool:
    """Whether the memory that is free suffices to prepare a case while another one, prepared already, is predicted."""
    try:
        needed = peak_bytes([case], model.plans, model.configuration) + prediction_bytes(predicted, model)
    except UserError:  # the case's files can't be read; that is said when its turn comes
        return False
    return needed <= MEMORY_SHARE * free_memory()


def prediction_bytes(record: SpatialRecord, model: Model) -> int:
    """Main memory that predicting a case takes beside its data: activations, logits, and labels thrice (estimated)."""
    window = model.window()
    needed = LOGIT_COPIES * 4 * prod(window.sums_shape(record.resampled_shape))
    needed += 3 * prod(record.full_shape)
    if model.device.type != "cuda":
        features = (*model.configuration.architecture.features_per_stage, PLANNING.base_features)[0]
        needed += ACTIVATION_COPIES * 4 * features * window.voxels_at_once
    return needed


@contextmanager
def memory_errors(device: torch.device, shape: Sequence[int], classes: int | None = None) -> Iterator[None]:
    """Lack of memory becomes an error that says for what, and what to do.

    Args:
        device: That was worked with.
        shape: Of the image's file, (z, y, x).
        classes: Number of logits per voxel, where it matters.

    Raises:
        UserError: the memory of the device, or the main memory, did not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        image = f"an image of {' x '.join(map(str, shape))} voxels (z, y, x)"
        if classes is not None:
            image += f" and {classes} classes"
        if device.type == "cpu" or isinstance(error, MemoryError) or "CPUAllocator" in str(error):
            raise UserError(
                f"The memory did not suffice for {image}.",
                "Close other programs, or use --workers 0: then the next image is not read meanwhile.",
                "free-memory",
            ) from error
        raise UserError(
            f"The memory of {device} did not suffice for {image}.",
            "Use --device cpu, or close other programs that use the GPU.",
            "free-gpu",
        ) from error
