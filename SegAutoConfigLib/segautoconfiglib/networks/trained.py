"""Which network a checkpoint's weights belong to: not all trainers build the one that the plans name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segautoconfiglib.networks.checkpoint import OWN_KEY
from segautoconfiglib.networks.umamba import with_weights_tokens
from segautoconfiglib.planning.architectures import UMAMBA_ENC, Architecture
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.planning.trainer_names import as_trained
from segautoconfiglib.planning.umamba import TOKEN_WIDTHS


def trained_architecture(configuration: Configuration, checkpoint: Mapping[str, Any], file: Path | str) -> Architecture:
    """The network of a checkpoint: that of the plans, changed as the trainer's name and the weights say.

    nnU-Net's nnUNetTrainerBN, and the trainers of U-Mamba, have networks that their plans do not name.

    Args:
        configuration: Of the plans beside the checkpoint.
        checkpoint: As `read_checkpoint` gives it.
        file: Where it comes from, for errors.

    Raises:
        UserError: the weights are of a UMambaEnc for another patch size.
    """
    architecture = as_trained(configuration.architecture, str(checkpoint.get("trainer_name")))
    if architecture.network_class_name != UMAMBA_ENC or TOKEN_WIDTHS in architecture.arch_kwargs:
        return architecture
    weights, original = checkpoint["network_weights"], OWN_KEY not in checkpoint
    return with_weights_tokens(architecture, configuration.patch_size, weights, file, original=original)
