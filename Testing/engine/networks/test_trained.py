"""Which network a checkpoint belongs to, by the trainer's name and by its weights."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import nnunet_weights  # noqa: E402
from segautoconfiglib.networks.trained import trained_architecture  # noqa: E402
from segautoconfiglib.planning.architectures import PLAIN_UNET, Architecture, as_umamba  # noqa: E402
from segautoconfiglib.planning.plans import Configuration  # noqa: E402

pytestmark = pytest.mark.torch

PATCH = (16, 16)


@pytest.fixture
def configuration(network_json: Any) -> Configuration:
    """Maps of 16^2, 8^2 and 4^2 voxels; the last has as many channels as voxels."""
    options = network_json(2, (4, 8, 16))["arch_kwargs"]
    return Configuration(
        data_identifier="x",
        batch_size=2,
        patch_size=PATCH,
        spacing=(1.0, 1.0),
        normalization_schemes=("ZScoreNormalization",),
        use_mask_for_norm=(False,),
        architecture=Architecture(network_class_name=PLAIN_UNET, arch_kwargs=options),
        batch_dice=True,
    )


def checkpoint(trainer: str, architecture: Architecture, **entries: Any) -> dict[str, Any]:
    network = build_network(architecture, 1, 2, deep_supervision=True)
    return {"trainer_name": trainer, "network_weights": nnunet_weights(network), **entries}


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainerCosAnneal", "SomebodysTrainer", None])
def test_most_trainers_have_the_planned_network(configuration: Configuration, trainer: Any) -> None:
    content = checkpoint(trainer, configuration.architecture)
    assert trained_architecture(configuration, content, "x") == configuration.architecture


def test_batch_normalisation_by_name(configuration: Configuration) -> None:
    found = trained_architecture(configuration, checkpoint("nnUNetTrainerBN", configuration.architecture), "x")
    assert found.arch_kwargs["norm_op"] == "torch.nn.modules.batchnorm.BatchNorm2d"


def test_umamba_by_name(configuration: Configuration) -> None:
    """Of the original program; what this one trained has its network in the plans."""
    planned = configuration.architecture
    bot, enc, original = (
        as_umamba(planned, "UMambaBot"),
        as_umamba(planned, "UMambaEnc"),
        as_umamba(planned, "UMambaEnc", PATCH),
    )
    for trainer, network in (("UMambaBot", bot), ("UMambaEnc", original), ("UMambaEncNoAMP", original)):
        content = checkpoint(f"nnUNetTrainer{trainer}", network)
        assert trained_architecture(configuration, content, "x") == network
    ours = configuration.model_copy(update={"architecture": enc})
    assert trained_architecture(ours, checkpoint("nnUNetTrainer", enc, segautoconfig={}), "x") == enc
    tuned = configuration.model_copy(update={"architecture": original})
    assert trained_architecture(tuned, checkpoint("nnUNetTrainer", original, segautoconfig={}), "x") == original
