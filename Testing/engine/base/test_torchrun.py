"""The place of a process, as torchrun's environment tells it."""

from __future__ import annotations

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.torchrun import Place, torchrun_place

ENVIRONMENT = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "host",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """torchrun's, to be changed."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_one_of_eight_on_two_machines(environment: pytest.MonkeyPatch) -> None:
    assert torchrun_place() == Place(rank=5, size=8, local_rank=1, local_size=4)


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_without_torchrun_there_is_one_process(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    assert torchrun_place() is None


def test_a_single_process_of_torchrun_is_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RANK", "0")
    environment.setenv("WORLD_SIZE", "1")
    assert torchrun_place() is None


@pytest.mark.parametrize(("name", "value"), [("RANK", "8"), ("WORLD_SIZE", "many"), ("LOCAL_RANK", "-1")])
def test_nonsense_is_shown(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(UserError, match=f"{name}={value}"):
        torchrun_place()


def test_torchrun_decides_the_number_of_processes(environment: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from segautoconfiglib.training.team import assemble

    with pytest.raises(UserError, match="torchrun has started 8 processes"):
        assemble("cpu", processes=2)
    with pytest.raises(UserError, match="can't share the device cuda:1"):
        assemble("cuda:1")
