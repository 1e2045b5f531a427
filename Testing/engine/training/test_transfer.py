"""Weights of another training: what is taken, what is made to fit, and what is told about the rest."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import nnunet_weights, read_checkpoint, write_checkpoint  # noqa: E402
from segautoconfiglib.planning.plans import Architecture  # noqa: E402
from segautoconfiglib.training.transfer import Meaning, Transfer, check_initial_weights, matches  # noqa: E402

FIRST = "encoder.stages.0.0.convs.0.conv.weight"
HEAD = "decoder.seg_layers.1.weight"
ORGANS = {"background": 0, "liver": 1, "spleen": 2}

Make = Callable[..., Any]


@pytest.fixture
def make_network(network_json: Make) -> Make:
    """``make_network(inputs, outputs, seed=0, **arch_kwargs)``."""

    def make(inputs: int, outputs: int, seed: int = 0, features: Any = (4, 8, 8), **options: Any) -> Any:
        torch.manual_seed(seed)
        architecture = Architecture.from_json(network_json(3, features, **options), "plans.json")
        return build_network(architecture, inputs, outputs, deep_supervision=True)

    return make


def checkpoint_of(network: Any, description: Any = None) -> dict[str, Any]:
    arguments = {} if description is None else {"dataset_json": description.to_json()}
    return {"network_weights": nnunet_weights(network), "init_args": arguments}


def copies(network: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_all_but_the_heads_as_in_nnunet(make_network: Make) -> None:
    given, own = make_network(1, 3, seed=1), make_network(1, 3, seed=2)
    before = copies(own)
    report = Transfer().load(own, checkpoint_of(given), "a.pth")
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, (before if ".seg_layers." in name else given.state_dict())[name]), name
    assert [row.name for row in report.fresh] == [
        f"decoder.seg_layers.{n}.{x}" for n in (0, 1) for x in ("weight", "bias")
    ]
    assert report.loaded == len(before) - 4
    assert (report.adapted, report.unused) == ([], [])
    events = ListReporter()
    report.tell("a.pth", events)
    first, second = events.of("log")
    assert f"{len(before) - 4} of {len(before)} tensors" in first["message"]
    assert "The last layers start anew" in first["message"]
    assert first["transfer"]["fresh"][0]["name"] == "decoder.seg_layers.0.weight"
    assert (
        "New, the last layers belong to the labels: decoder.seg_layers.0.weight (3x8x1x1x1 -> 3x8x1x1x1)"
        in second["message"]
    )


@pytest.mark.parametrize(("outputs", "taken"), [(3, True), (2, False)])
def test_heads_where_they_fit(make_network: Make, outputs: int, taken: bool) -> None:
    given, own = make_network(1, 3, seed=1), make_network(1, outputs, seed=2)
    before = copies(own)
    report = Transfer(heads=True).load(own, checkpoint_of(given), "a.pth")
    assert bool(report.fresh) is not taken
    assert torch.equal(own.state_dict()[HEAD], (given.state_dict() if taken else before)[HEAD])


def test_heads_by_the_names_of_structures(make_network: Make, describe: Make) -> None:
    there = describe(labels=ORGANS)
    here = describe(labels={"background": 0, "kidney": 1, "Spleen": 2, "liver": 3})
    given, own = make_network(1, 3, seed=1), make_network(1, 4, seed=2)
    before = copies(own)
    report = Transfer(adapt=["heads"], here=Meaning.of(here)).load(own, checkpoint_of(given, there), "a.pth")
    for name in (HEAD, "decoder.seg_layers.0.bias"):
        old, new = given.state_dict()[name], own.state_dict()[name]
        assert torch.equal(new[[0, 2, 3]], old[[0, 2, 1]]), name
        assert torch.equal(new[1], before[name][1])
    assert {row.reason for row in report.adapted} == {"structures taken over: background, Spleen, liver"}
    assert not report.fresh


def test_heads_of_regions_and_of_unknown_labels(make_network: Make, describe: Make) -> None:
    there = describe(labels=ORGANS)
    here = describe(labels={"background": 0, "both": [1, 2], "spleen": 2}, regions_class_order=[1, 2])
    given, own = make_network(1, 3, seed=1), make_network(1, 2, seed=2)
    assert Meaning.of(here).outputs == ["both", "spleen"]
    Transfer(adapt=["heads"], here=Meaning.of(here)).load(own, checkpoint_of(given, there), "a.pth")
    assert torch.equal(own.state_dict()[HEAD][1], given.state_dict()[HEAD][2])
    report = Transfer(adapt=["heads"], here=Meaning.of(here)).load(own, checkpoint_of(given), "a.pth")
    assert {row.reason for row in report.fresh} == {"no structure of the same name"}
    same = make_network(1, 3, seed=3)
    report = Transfer(adapt=["heads"], here=Meaning.of(there)).load(same, checkpoint_of(given, there), "a.pth")
    assert torch.equal(same.state_dict()[HEAD], given.state_dict()[HEAD])
    assert (report.adapted, report.fresh) == ([], [])


@pytest.mark.parametrize(
    ("there", "here", "sources", "says"),
    [
        (["T1", "T2"], ["t2", "t1"], [[0, 1], [1, 0]], "channels taken over: t2, t1"),
        (["T1"], ["T1", "T2"], [[1], [0]], "channels taken over: T1; T2 from zero"),
        (["CT"], ["T1", "T2"], [[0.5], [0.5]], "channels taken over: none; T1, T2 from the mean of the others"),
        (
            ["T1", "CT", "X"],
            ["T1", "T2"],
            [[1, 0, 0], [0, 1, 1]],
            "channels taken over: T1; T2 from the mean of the others",
        ),
        (["T1", "CT"], ["CT"], [[0, 1]], "channels taken over: CT"),
        (["T1", "CT"], ["T1", "T2"], [[1, 0], [0, 1]], None),
    ],
)
def test_input_channels(
    make_network: Make, describe: Make, there: list[str], here: list[str], sources: list[list[float]], says: str | None
) -> None:
    theirs, mine = (describe(channel_names={str(n): name for n, name in enumerate(x)}) for x in (there, here))
    given, own = make_network(len(there), 3, seed=1), make_network(len(here), 3, seed=2)
    report = Transfer(adapt=["channels"], here=Meaning.of(mine)).load(own, checkpoint_of(given, theirs), "a.pth")
    old, new = given.state_dict()[FIRST], own.state_dict()[FIRST]
    expected = torch.einsum("nc,ocxyz->onxyz", torch.tensor(sources, dtype=old.dtype), old)
    torch.testing.assert_close(new, expected, rtol=0, atol=1e-7)
    assert [row.reason for row in report.adapted] == [says] * (says is not None)


def test_another_network_is_refused(make_network: Make) -> None:
    own = make_network(1, 3)
    before = copies(own)
    for given, says in (
        (make_network(2, 3), r"2 input channels instead of 1.*--adapt channels"),
        (make_network(1, 3, features=(4, 8, 16)), r"is \(16, 8, 3, 3, 3\) instead of .*move-plans"),
        (make_network(1, 3, features=(4, 8)), r"missing encoder\.stages\.2.*--adapt layers"),
    ):
        with pytest.raises(UserError, match=rf"(?s){says}"):
            Transfer().load(own, checkpoint_of(given), "a.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in own.state_dict().items())
    with pytest.raises(UserError, match=r"No weights of a\.pth fit"):
        Transfer(adapt=["layers"]).load(own, {"network_weights": {"other.weight": torch.zeros(3)}}, "a.pth")


def test_what_fits_of_another_network(make_network: Make) -> None:
    given, own = make_network(1, 3, seed=1, features=(4, 8, 16, 16)), make_network(1, 3, seed=2)
    before = copies(own)
    report = Transfer(adapt=["layers"]).load(own, checkpoint_of(given), "a.pth")
    assert torch.equal(own.state_dict()[FIRST], given.state_dict()[FIRST])
    changed = "encoder.stages.2.0.convs.0.conv.weight"
    assert torch.equal(own.state_dict()[changed], before[changed])
    assert {row.reason for row in report.fresh} == {"another shape", "the last layers belong to the labels"}
    assert "encoder.stages.3.0.convs.0.conv.weight" in [row.name for row in report.unused]
    assert report.loaded + len(report.fresh) == len(before)


def test_a_job_is_checked_before_it_runs(make_job: Make, make_network: Make, tmp_path: Path) -> None:
    check_initial_weights(make_job())
    write_checkpoint(tmp_path / "a.pth", checkpoint_of(make_network(1, 3)))
    check_initial_weights(make_job(initial_weights=tmp_path / "a.pth"))
    write_checkpoint(tmp_path / "b.pth", checkpoint_of(make_network(2, 3)))
    with pytest.raises(UserError, match=r"b\.pth do not fit this network: 2 input channels instead of 1"):
        check_initial_weights(make_job(initial_weights=tmp_path / "b.pth"))
    check_initial_weights(make_job(initial_weights=tmp_path / "b.pth", adapt=("channels",)))


def test_a_checkpoint_of_a_gpu_is_read_without_one(make_network: Make, tmp_path: Path) -> None:
    """Its tensors name cuda:0 as their place; on a computer without one they come to main memory."""
    network = make_network(1, 3)
    torch.save(checkpoint_of(network), tmp_path / "cpu.pth")
    with zipfile.ZipFile(tmp_path / "cpu.pth") as old, zipfile.ZipFile(tmp_path / "gpu.pth", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                assert b"X\x03\x00\x00\x00cpu" in content
                content = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(name, content)
    weights = read_checkpoint(tmp_path / "gpu.pth")["network_weights"]
    assert torch.equal(weights[FIRST], network.state_dict()[FIRST])


def test_matching_names() -> None:
    assert matches(["MRI", "MRI", "CT"], ["ct", "MRI", "mri", "MRI"]) == [(2, 0), (0, 1), (1, 2)]
    assert Meaning.of_checkpoint({}) == Meaning((), ())
    assert Meaning.of_checkpoint({"init_args": {"dataset_json": {"labels": 3}}}) == Meaning((), ())


def test_names_of_a_plug_ins_network_are_kept() -> None:
    given, own = torch.nn.Module(), torch.nn.Module()
    for network in (given, own):
        network.module = torch.nn.Linear(2, 2)
        network.decoder = torch.nn.Module()
        network.decoder.encoder = torch.nn.Linear(2, 2)
    report = Transfer().load(own, {"network_weights": given.state_dict()}, "a.pth")
    assert report.loaded == 4
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, given.state_dict()[name]), name
