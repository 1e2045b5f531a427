"""Stand-ins for the widgets of CTK and of Slicer (qMRML...); what is not listed here does not exist in the host.

Behaviour follows the Qt properties, slots and signals of the real classes as far as a module can see them.
"""

from __future__ import annotations

import types

from ..strict import HostError
from . import ctk, nodes, plot, segments

CTK = {cls.__name__: cls for cls in ctk.CLASSES}
MRML = {cls.__name__: cls for module in (nodes, segments, plot) for cls in module.CLASSES}


def ctk_module() -> types.ModuleType:
    """The module `ctk`."""
    module = types.ModuleType("ctk")
    vars(module).update(CTK)

    def missing(name):
        raise HostError(f"ctk.{name} has no stand-in in this host")

    module.__getattr__ = missing
    return module
