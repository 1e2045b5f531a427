"""Stand-in for slicer.parameterNodeWrapper: the parameters.

Types: str, int, float, bool, pathlib.Path, Enum, MRML node classes, lists of these, Optional of these; Annotated with
Default, WithinRange, Choice, Minimum, Maximum, Decimals, SingleStep. Others raise HostError. A list that is read is a
copy (Slicer's writes changes back): assign it anew. Values are kept in the vtkMRMLScriptedModuleNode and so in the
scene; their spelling there is the host's own, not Slicer's.
"""

from __future__ import annotations

import enum
import json
import pathlib
import sys
import types
import typing

from . import parametergui
from .parameterchecks import Choice, Decimals, Default, Maximum, Minimum, SingleStep, WithinRange  # noqa: F401
from .strict import HostError

PUBLIC = (
    "Choice", "Decimals", "Default", "Maximum", "Minimum", "SingleStep", "SlicerParameterNamePropertyName",
    "WithinRange", "isParameterNodeWrapper", "parameterNodeWrapper", "parameterPack",
)  # fmt: skip
SlicerParameterNamePropertyName = parametergui.PROPERTY


def parameterPack(*_arguments, **_options):
    raise HostError("parameterPack is not emulated")


def is_node_class(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, sys.modules["slicer"].vtkMRMLNode)


def is_enum(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is_plain(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, (str, int, float, enum.Enum, pathlib.PurePath))


class Member:
    """One parameter: its type, its default, and how it is kept in the node."""

    def __init__(self, name, hint, defaults: list):
        self.name, self.annotations = name, []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *self.annotations = typing.get_args(hint)
        hint, self.optional = self._without_none(hint)
        self.is_list = typing.get_origin(hint) is list
        self.type = typing.get_args(hint)[0] if self.is_list else hint
        self.is_node = is_node_class(self.type)
        if not self.is_node and not _is_plain(self.type):
            raise HostError(f"{name}: type {hint} is not emulated by this host's parameterNodeWrapper")
        defaults = defaults + [entry.value for entry in self.annotations if isinstance(entry, Default)]
        self.default = defaults[0] if defaults else self._zero()

    def _without_none(self, hint):
        if typing.get_origin(hint) not in (typing.Union, types.UnionType):
            return hint, False
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) != 1:
            raise HostError(f"{self.name}: Union of several types is not emulated")
        return kinds[0], True

    def _zero(self):
        if self.is_list:
            return []
        if self.optional or self.is_node:
            return None
        if is_enum(self.type):
            return next(iter(self.type))
        choice = next((entry for entry in self.annotations if isinstance(entry, Choice)), None)
        return choice.choices[0] if choice else self.type()

    # ---- writing
    def write(self, node, value) -> None:
        values = self._checked(value)
        if self.is_node:
            self._write_nodes(node, values)
            return
        plain = [_to_text(entry) for entry in values]
        node.SetParameter(self.name, json.dumps(plain if self.is_list else next(iter(plain), None)))

    def _write_nodes(self, node, values) -> None:
        before = node.StartModify()
        while node.GetNumberOfNodeReferences(self.name) > len(values):
            node.RemoveNthNodeReferenceID(self.name, node.GetNumberOfNodeReferences(self.name) - 1)
        for place, entry in enumerate(values):
            if node.GetNthNodeReferenceID(self.name, place) != entry.GetID():
                node.SetNthNodeReferenceID(self.name, place, entry.GetID())
        node.EndModify(before)

    def _checked(self, value) -> list:
        """The value, or a list's values, of the right type and in range."""
        if self.is_list:
            if not isinstance(value, (list, tuple)):
                raise TypeError(f"{self.name}: expected a list, got {type(value).__name__}")
            return [self._check_one(entry) for entry in value]
        if value is None:
            if not (self.optional or self.is_node):
                raise TypeError(f"{self.name}: None is not allowed")
            return []
        return [self._check_one(value)]

    def _check_one(self, value):
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type):
            raise TypeError(f"{self.name}: expected {self.type.__name__}, got {type(value).__name__} {value!r}")
        for annotation in self.annotations:
            if hasattr(annotation, "check"):
                annotation.check(value)
        return value

    # ---- reading
    def read(self, node):
        if self.is_node:
            count = node.GetNumberOfNodeReferences(self.name)
            nodes = [node.GetNthNodeReference(self.name, place) for place in range(count)]
            return [entry for entry in nodes if entry is not None] if self.is_list else next(iter(nodes), None)
        text = node.GetParameter(self.name)
        if not text:
            return list(self.default) if self.is_list else self.default
        value = json.loads(text)
        if self.is_list:
            return [self._from_text(entry) for entry in value]
        return None if value is None else self._from_text(value)

    def _from_text(self, value):
        return self.type[value] if is_enum(self.type) else self.type(value)

    def write_default(self, node) -> None:
        if not self.is_node and not node.GetParameter(self.name):
            self.write(node, self.default)


def _to_text(value):
    if isinstance(value, enum.Enum):
        return value.name
    return str(value) if isinstance(value, pathlib.PurePath) else value


def parameterNodeWrapper(classtype=None):
    """The class decorator."""
    return _wrap if classtype is None else _wrap(classtype)


def _wrap(cls):
    members = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        members[name] = Member(name, hint, [getattr(cls, name)] if hasattr(cls, name) else [])
        setattr(cls, name, _member_property(members[name]))

    def init(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._connections = parametergui.Connections(self, members)
        for member in members.values():
            member.write_default(parameterNode)

    cls.__init__, cls.allParameters, cls._is_parameter_node_wrapper = init, members, True
    for name, method in vars(_Wrapper).items():
        if not name.startswith("__"):
            setattr(cls, name, method)
    return cls


def _member_property(member: Member) -> property:
    return property(
        lambda self: member.read(self.parameterNode), lambda self, value: member.write(self.parameterNode, value)
    )


class _Wrapper:
    """Methods that every wrapped class gets."""

    def connectGui(self, gui):
        return self._connections.connect_gui(gui)

    def connectParametersToGui(self, mapping):
        return self._connections.connect(mapping)

    def disconnectGui(self, tag):
        self._connections.disconnect(tag)

    def getValue(self, name):
        return getattr(self, name)

    def setValue(self, name, value):
        setattr(self, name, value)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, before):
        return self.parameterNode.EndModify(before)

    def Modified(self):
        self.parameterNode.Modified()


def isParameterNodeWrapper(value) -> bool:
    return getattr(value, "_is_parameter_node_wrapper", False)
