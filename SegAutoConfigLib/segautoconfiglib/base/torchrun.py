"""The place of this process among those that ``torchrun`` has started, as its environment tells."""

from __future__ import annotations

import os
from dataclasses import dataclass

from segautoconfiglib.base.errors import UserError


@dataclass(frozen=True)
class Place:
    """One of several processes.

    Attributes:
        rank: Its number, from 0.
        size: How many there are, on all machines.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def torchrun_place() -> Place | None:
    """None where this process is the only one. Raises: UserError: the environment is not torchrun's."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name) for name in names]
    if None in values or not os.environ.get("MASTER_ADDR") or not os.environ.get("MASTER_PORT"):
        return None
    values.append(os.environ.get("LOCAL_WORLD_SIZE", values[1]))
    numbers = [int(value) for value in values if value is not None and value.isdecimal()]
    if len(numbers) < len(values) or numbers[0] >= numbers[1]:
        told = ", ".join(f"{name}={value}" for name, value in zip((*names, "LOCAL_WORLD_SIZE"), values, strict=True))
        raise UserError(
            f"The environment names no process of a training: {told}.",
            "Start the command with torchrun, or unset these variables.",
        )
    place = Place(*numbers)
    return place if place.size > 1 else None
