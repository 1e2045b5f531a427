"""What the engine advises is understood by somebody who has no command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from SegAutoConfigGui.Jobs.Hints import hintOf, sentences
from SegAutoConfigGui.Problems import Problem, problemsOfError, problemsOfEvent
from segautoconfiglib.base.errors import Action, ProblemsError, UserError
from segautoconfiglib.base.errors import Problem as EngineProblem

#: Raised for words that the panels never give.
NOT_FROM_PANELS = {
    "dataset/case_labels.py",
    "dataset/convert.py",
    "dataset/from_folder.py",
    "dataset/from_masks.py",
    "dataset/making.py",
    "dataset/new_dataset.py",
    "dataset/relabel.py",
    "dataset/repair.py",
    "dataset/repair_case.py",
    "dataset/split.py",
    "evaluation/accumulate.py",
    "inference/cascade.py",
    "pipeline/choice.py",
    "pipeline/chosen.py",
    "pipeline/continuation.py",
    "pipeline/making.py",
    "pipeline/move.py",
    "pipeline/options.py",
    "pipeline/overlays.py",
    "pipeline/validated.py",
    "planning/architectures.py",
    "planning/move.py",
    "planning/trainer_names.py",
    "tasks/output/combine.py",
    "tasks/options.py",
    "tasks/output/label_files.py",
    "tasks/places.py",
    "tasks/results.py",
    "tasks/wishes.py",
    "training/distributed.py",
    "training/optimizers.py",
    "training/team.py",
}
#: Of the command line itself only what ends any command, and `doctor`, are reached from the panels.
COMMAND_LINE = {"cli/main.py", "cli/doctor.py"}
#: Usage, for who types: messages and hints of words that are no command.
USAGE = re.compile(r"see also --help|--help shows|^python -m X (COMMAND )?X")
#: Places of hint and action in the arguments.
PLACES = {"UserError": (1, 2), "Problem": (1, 4), "ProblemsError": (2, None)}
OPTION = re.compile(r"(?<![\w-])--?[a-z]|pip install|delete-model|[Rr]un plan\b")


def advice(repository: Path) -> Iterator[tuple[str, str, str]]:
    """Place, text and actions of all hints in the engine's sources; "?" for an action that is passed on."""
    package = repository / "SegAutoConfigLib" / "segautoconfiglib"
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        if (name.startswith("cli/") and name not in COMMAND_LINE) or name in NOT_FROM_PANELS:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for scope in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(scope) if isinstance(node, ast.Call)):
                hint, action = parts(call)
                for text in textsOf(hint, scope):
                    yield f"{name}:{call.lineno}", text, " ".join(textsOf(action, scope))


def parts(call: ast.Call) -> tuple[ast.expr | None, ast.expr | None]:
    """The hint and the action that a call gives."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    places = PLACES.get(getattr(call.func, "id", ""), ())
    found = [call.args[place] if place is not None and place < len(call.args) else None for place in places]
    hint, action = found or (None, None)
    return hint or named.get("hint"), action or named.get("action")


def textsOf(node: ast.expr | None, scope: ast.FunctionDef) -> list[str]:
    """The texts that an expression can have, X where a value is filled in; a name has those that were assigned."""
    if node is None:
        return []
    if isinstance(node, ast.Name):
        return [text for value in assigned(node.id, scope) for text in textsOf(value, scope)]
    if isinstance(node, ast.IfExp):
        return [*textsOf(node.body, scope), *textsOf(node.orelse, scope)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(partText(part) for part in node.values)]
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    return ["".join(str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)) or "?"]


def partText(part: ast.expr) -> str:
    """Of a text: its words, those of a command, or X for another value."""
    value = part.value if isinstance(part, ast.FormattedValue) else part
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "command":
        return " ".join(partText(word) for word in value.args)
    return str(value.value) if isinstance(value, ast.Constant) else "X"


def assigned(name: str, scope: ast.FunctionDef) -> list[ast.expr]:
    """What a function assigns to a name, also as one of several."""
    values = []
    for node in ast.walk(scope):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                values.append(node.value)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                values += [
                    value
                    for one, value in zip(target.elts, node.value.elts, strict=True)
                    if isinstance(one, ast.Name) and one.id == name
                ]
    return values


def test_every_hint_that_names_an_option_or_a_command_has_an_action(repository: Path) -> None:
    everything = list(advice(repository))
    assert len(everything) > 150
    naming = [entry for entry in everything if OPTION.search(entry[1]) and not USAGE.search(entry[1])]
    assert len(naming) > 25
    assert [entry for entry in naming if not entry[2]] == []


def test_every_action_has_a_use_and_a_sentence(repository: Path) -> None:
    actions = set(get_args(Action)) - {""}
    used = {word for _place, _text, action in advice(repository) for word in action.split()} - {"?"}
    assert used == actions
    assert set(sentences()) == actions
    assert [text for text in sentences().values() if OPTION.search(text) or not text.endswith(".")] == []


@pytest.mark.parametrize(
    ("data", "panel"),
    [
        ({"hint": "Use --device cpu.", "action": "cpu"}, 'Choose the device "cpu" (under Advanced).'),
        (
            {"hint": "Continue it with --resume, or discard it with --overwrite.", "action": "resume-or-overwrite"},
            'Continue it with "Resume", or discard it with "Start over".',
        ),
        ({"hint": "Check the folder - is it empty?", "action": ""}, "Check the folder - is it empty?"),
        ({"hint": "Close it.", "action": "of-a-newer-engine"}, "Close it."),
        ({"hint": "Name the file: /data/a--b/--c/model.zip."}, "Name the file: /data/a--b/--c/model.zip."),
        ({"hint": "Use --device cpu."}, ""),
        ({}, ""),
    ],
)
def test_hints_in_words_of_the_panels(data: dict[str, str], panel: str) -> None:
    assert hintOf(data) == panel


def test_problems_of_events_and_errors_say_it_so() -> None:
    finding = {"message": "m", "hint": "Use --device cpu.", "file": "--device", "case": "c", "action": "cpu"}
    said = Problem("m", 'Choose the device "cpu" (under Advanced).', "--device", "c")
    assert problemsOfEvent({"message": "m", "hint": "Use --device cpu.", "action": "cpu"}) == [Problem("m", said.hint)]
    assert problemsOfEvent({"message": "", "problems": [finding]})[0].hint == said.hint
    error = ProblemsError("", [EngineProblem(**finding)])
    assert problemsOfError(error) == [said]
    assert problemsOfError(UserError("m", "Use --device cpu.", "cpu")) == [Problem("m", said.hint)]
