"""`slicer.modules` and the module manager."""

from __future__ import annotations

import sys
import types

from .strict import Strict


class ModuleHandle(Strict):
    """`slicer.modules.<name>`."""

    _what = "module"

    def __init__(self, name, logic=None, path="", widget=None, title=""):
        self.name, self.title, self.path = name, title or name, path
        self._logic, self._widget = logic, widget

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return self._widget


class ModuleManager(Strict):
    """`slicer.app.moduleManager()`."""

    _what = "qSlicerModuleManager"

    def __init__(self):
        self._modules, self._callbacks = {}, []

    def module(self, name):
        return self._modules.get(name.lower())

    def modulesNames(self):
        return [module.name for module in self._modules.values()]

    def factoryManager(self):
        return types.SimpleNamespace(
            loadedModuleNames=self.modulesNames, isRegistered=lambda name: name.lower() in self._modules
        )

    def connect(self, signal, callback):
        self._callbacks.append((signal, callback))
        return True

    def disconnect(self, signal, callback):
        self._callbacks = [pair for pair in self._callbacks if pair != (signal, callback)]
        return True

    def emitAboutToBeUnloaded(self, name):
        """For tests: what Slicer signals before it unloads a module."""
        for signal, callback in list(self._callbacks):
            if signal.startswith("moduleAboutToBeUnloaded"):
                callback(name)

    def add(self, handle):
        """Make a module known, as Slicer's module factory does."""
        slicer = sys.modules["slicer"]
        self._modules[handle.name.lower()] = handle
        setattr(slicer.modules, handle.name.lower(), handle)
        setattr(slicer.moduleNames, handle.name, handle.name)

    def clear(self):
        self._modules.clear()
        modules = sys.modules["slicer"].modules
        for name in [name for name in vars(modules) if not name.startswith("_")]:
            delattr(modules, name)
