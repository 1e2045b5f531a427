"""Checkpoints: nnU-Net's are read and ours have its names; harmful, damaged and unfit ones are refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import (  # noqa: E402
    load_weights,
    nnunet_weights,
    read_checkpoint,
    write_checkpoint,
)
from segautoconfiglib.planning.architectures import Architecture  # noqa: E402

pytestmark = pytest.mark.torch

FIXTURES = Path(__file__).parent / "fixtures"
#: Networks, images and logits made with dynamic-network-architectures 0.4.4.
NNUNET_NETWORKS = FIXTURES / "nnunet_networks.pth"
#: Names of the same networks' parameters as nnunetv2 2.8.1 gives them to its optimizer.
NNUNET_ORDER = FIXTURES / "nnunet_parameter_order.json"
#: A tiny model saved by the trainer of nnunetv2 2.8.1 after one step, with NumPy numbers in its log.
NNUNET_CHECKPOINT = FIXTURES / "nnunet_checkpoint.pth"


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target, synced = tmp_path / "checkpoint_latest.pth", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, target.exists())))
    write_checkpoint(target, {"network_weights": {"a": torch.zeros(1000)}})
    assert synced == [(target.stat().st_size, False)]


def nnunet_example(name):
    """Weights, image and logits from nnunetv2, and a network of the same plan."""
    example = torch.load(NNUNET_NETWORKS, weights_only=True)[name]
    plan = Architecture(
        network_class_name=example["network_class_name"], arch_kwargs=json.loads(example["arch_kwargs"])
    )
    network = build_network(plan, 2, 3, deep_supervision=True)
    return example, network


@pytest.mark.parametrize("name", ["plain_3d", "residual_3d", "plain_2d"])
def test_nnunets_weights_give_its_logits(name):
    example, network = nnunet_example(name)
    load_weights(network, example["network_weights"], name)
    with torch.no_grad():
        logits = network(example["image"])
    for ours, theirs in zip(logits, example["logits"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    written = nnunet_weights(network)
    assert set(written) == set(example["network_weights"])
    assert all(torch.equal(tensor, example["network_weights"][key]) for key, tensor in written.items())


@pytest.mark.parametrize("name", ["plain_3d", "residual_3d", "plain_2d"])
def test_parameters_are_in_nnunets_order(name):
    """An optimizer's state in a checkpoint names them by their number alone."""
    _, network = nnunet_example(name)
    assert [key for key, _ in network.named_parameters()] == json.loads(NNUNET_ORDER.read_text())[name]


def test_a_checkpoint_of_nnunetv2_is_read():
    content = read_checkpoint(NNUNET_CHECKPOINT)
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["init_args"]["device"] == torch.device("cpu")
    assert content["logging"]["dice_per_class_or_region"] == [[pytest.approx(0.4), pytest.approx(0.6)]]
    assert content["inference_allowed_mirroring_axes"] == (0, 1)


def test_round_trip_keeps_weights_and_shares_aliases(architecture, tmp_path):
    network = build_network(architecture(features_per_stage=[2, 4, 8]), 1, 2, deep_supervision=True)
    file = tmp_path / "new" / "checkpoint.pth"
    write_checkpoint(file, {"network_weights": nnunet_weights(network), "current_epoch": 3})
    content = read_checkpoint(file)
    assert content["current_epoch"] == 3
    stored = content["network_weights"]
    name = "encoder.stages.0.0.convs.0"
    assert stored[f"decoder.{name}.all_modules.0.weight"].data_ptr() == stored[f"{name}.conv.weight"].data_ptr()
    other = build_network(architecture(features_per_stage=[2, 4, 8]), 1, 2, deep_supervision=True)
    load_weights(other, stored, file)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    assert list(tmp_path.rglob("*.pth")) == [file]


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("save", [torch.save, lambda content, file: Path(file).write_bytes(pickle.dumps(content, 2))])
def test_a_checkpoint_with_code_is_refused_and_the_code_not_run(tmp_path, save):
    file, mark = tmp_path / "evil.pth", tmp_path / "ran"
    save({"network_weights": {}, "init_args": Payload(f"touch {mark}")}, file)
    with pytest.raises(UserError, match="refused"):
        read_checkpoint(file)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 10, 1000, -100])
def test_truncated_files_are_damaged(tmp_path, keep):
    file = tmp_path / "cut.pth"
    file.write_bytes(NNUNET_CHECKPOINT.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(file)


def test_bytes_that_changed_on_the_way_are_noticed(tmp_path):
    file = tmp_path / "changed.pth"
    write_checkpoint(file, {"network_weights": {"a": torch.arange(1000.0)}})
    with zipfile.ZipFile(file) as archive:
        weights = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(file.read_bytes())
    content[weights.header_offset + 2000] ^= 1
    file.write_bytes(content)
    assert not torch.equal(torch.load(file, weights_only=True)["network_weights"]["a"], torch.arange(1000.0))
    with pytest.raises(UserError, match=r"is damaged \(.*data/0: wrong checksum"):
        read_checkpoint(file)


def test_a_file_without_checksums_is_read(tmp_path):
    file, before = tmp_path / "none.pth", torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"network_weights": {"a": torch.arange(1000.0)}}, file)
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_checkpoint(file)["network_weights"]["a"], torch.arange(1000.0))


def test_missing_files_and_other_content(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no network_weights"):
        read_checkpoint(tmp_path / "other.pth")


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / "checkpoint.pth"
    write_checkpoint(file, {"network_weights": {}, "current_epoch": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(file, {"network_weights": {}, "hook": lambda: None})
    assert read_checkpoint(file)["current_epoch"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_prefixes_of_wrapped_networks_are_dropped(architecture):
    network = build_network(architecture(features_per_stage=[2, 4, 8]), 1, 2, deep_supervision=True)
    wrapped = {f"module._orig_mod.{name}": tensor + 1 for name, tensor in nnunet_weights(network).items()}
    before = network.decoder.seg_layers[0].weight.detach().clone()
    load_weights(network, wrapped, "x")
    torch.testing.assert_close(network.decoder.seg_layers[0].weight, before + 1)


@pytest.mark.parametrize(
    ("channels", "classes", "changes", "text"),
    [
        (1, 3, {}, "3 output classes instead of 2"),
        (4, 2, {}, "4 input channels instead of 1"),
        (4, 3, {}, "3 output classes instead of 2; 4 input channels instead of 1"),
        (
            1,
            2,
            {"features_per_stage": [3, 4, 8]},
            r"(?<=network: )encoder\.stages\.0\.0\.convs\.0\.conv\.weight is \(3, 1, 1, 3, 3\) instead",
        ),
        (
            1,
            2,
            {"features_per_stage": [2, 4, 6]},
            r"encoder\.stages\.2\.0\.convs\.0\.conv\.weight is \(6, 4, 3, 3, 3\)",
        ),
        (
            1,
            2,
            {"n_conv_per_stage": [3, 2, 2]},
            r"unexpected encoder\.stages\.0\.0\.convs\.2\.conv\.weight.* and 1 more",
        ),
        (1, 2, {"n_conv_per_stage": [2, 2, 1]}, r"missing encoder\.stages\.2\.0\.convs\.1\.conv\.weight"),
    ],
)
def test_weights_of_another_network_are_refused(architecture, channels, classes, changes, text):
    small = {"features_per_stage": [2, 4, 8]}
    network = build_network(architecture(**small), 1, 2, deep_supervision=True)
    other = build_network(architecture(**{**small, **changes}), channels, classes, deep_supervision=True)
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(UserError, match=f"my.pth do not fit this network: .*{text}"):
        load_weights(network, nnunet_weights(other), "my.pth")
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_network_with_an_attribute_called_module(tmp_path):
    network = torch.nn.Module()
    network.module = torch.nn.Linear(2, 2)
    network.other = torch.nn.Linear(2, 2)
    for prefix in ("", "module.", "_orig_mod.", "module._orig_mod."):
        given = {f"{prefix}{name}": torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
        load_weights(network, given, "x")
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, given[f"{prefix}{name}"]), name
