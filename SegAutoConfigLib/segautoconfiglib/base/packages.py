"""The packages that the engine needs, known also where it was not installed by pip (as in Slicer)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec

#: Distribution -> what is imported and the oldest version that will do; the same as in pyproject.toml.
ALWAYS = {
    "numpy": ("numpy", "1.25"),
    "scipy": ("scipy", "1.10"),
    "SimpleITK": ("SimpleITK", "2.3"),
    "tifffile": ("tifffile", "2023.1"),
    "pillow": ("PIL", "9"),
    "blosc2": ("blosc2", "3.0"),
    "pydantic": ("pydantic", "2.5"),
    "typing-extensions": ("typing_extensions", "4.6"),
    "rich": ("rich", "13"),
    "psutil": ("psutil", "5.9"),
    "threadpoolctl": ("threadpoolctl", "3"),
}
#: The same for training and prediction; the rest works without.
FOR_TRAINING = {
    "torch": ("torch", "2.6"),
    "batchgenerators": ("batchgenerators", "0.25.5"),
    "matplotlib": ("matplotlib", "3.7"),
}


def installed_version(package: str) -> str | None:
    """The version of one of the packages, "unknown" where it is there and does not tell; None where it is missing.

    Nothing is imported.
    """
    from importlib.metadata import PackageNotFoundError, version  # slow to load, and seldom needed

    try:
        return version(package)
    except PackageNotFoundError:
        module, _ = {**ALWAYS, **FOR_TRAINING}[package]
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            return None
        return "unknown" if spec is not None and spec.origin is not None else None


def lacking(packages: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Those that are missing or too old, with the reason as a sentence.

    Args:
        packages: :data:`ALWAYS` or :data:`FOR_TRAINING`.
    """
    found = {name: installed_version(name) for name in packages}
    reasons = {}
    for name, (_, oldest) in packages.items():
        here = found[name]
        if here is None:
            reasons[name] = f"{name} is not installed."
        elif _numbers(here) and _numbers(here) < _numbers(oldest):
            reasons[name] = f"{name} {here} is too old; {oldest} or newer is needed."
    return reasons


def distribution_of(module: str | None) -> str | None:
    """The package that brings a module ("PIL.Image": "pillow"); None if it is none of the engine's."""
    top = (module or "").partition(".")[0]
    return next((name for name, (brought, _) in {**ALWAYS, **FOR_TRAINING}.items() if brought == top), None)


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 6) of "2.6rc1"."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()
