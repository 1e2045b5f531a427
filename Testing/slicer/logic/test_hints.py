"""What the engine advises is understood by somebody who has no command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from SegAutoConfigGui.Jobs.Hints import inWindow, translated
from SegAutoConfigGui.Problems import Problem

#: Raised for words that the panels never give.
NOT_FROM_PANELS = {"pipeline/options.py", "pipeline/continuation.py", "dataset/convert.py"}
RAISING = {"UserError", "Problem", "ProblemsError"}


def advice(repository: Path) -> Iterator[tuple[str, str]]:
    """File and text of all hints in the engine's sources outside of the command line's own."""
    package = repository / "SegAutoConfigLib" / "segautoconfiglib"
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        if name.startswith("cli/") or name in NOT_FROM_PANELS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
            called = getattr(node.func, "id", "")
            for part in [*(node.args[1:2] if called in RAISING else []), *named]:
                yield name, textOf(part)


def textOf(node: ast.expr) -> str:
    """The text of a literal; X where a value is filled in."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return "".join(part.value for part in parts)


def test_no_option_is_left_in_any_advice(repository: Path) -> None:
    everything = list(advice(repository))
    assert len(everything) > 100
    assert sum("--" in text for _name, text in everything) > 10
    assert [(name, said) for name, text in everything if "--" in (said := inWindow(text))] == []


@pytest.mark.parametrize(
    ("engine", "panel"),
    [
        (
            "Preparing is done once: training again with --overwrite, or with more time, gives a better network.",
            'Preparing is done once: training again with "Start over", or with more time, gives a better network.',
        ),
        (
            "Continue it with --resume, or discard it with --overwrite.",
            'Continue it with "Resume", or discard it with "Start over".',
        ),
        ("start anew (--overwrite).", 'start anew ("Start over").'),
        ("Give more time (--budget).", "Give more time."),
        (
            "Give more time (--budget), or train on all cases (--fold all), which needs no validation.",
            'Give more time, or train on all cases (the fold "all" (under Advanced)), which needs no validation.',
        ),
        ("Use --device cpu.", 'Use the device "cpu" (under Advanced).'),
        (
            "Make room, or choose another workspace (--workspace).",
            "Make room, or choose another workspace in the Setup tab.",
        ),
        (
            "Choose another folder (--workspace), or change the permissions.",
            "Choose another folder (the workspace in the Setup tab), or change the permissions.",
        ),
        ("Use fewer workers (--workers 1) or close other programs. ", "Close other programs. "),
        (
            "Close other programs, or use --workers 0: then the next image is not read meanwhile.",
            "Close other programs.",
        ),
        (
            "To keep that model: train Dataset001_A --continue-from /a b/m, or plan Dataset001_A "
            "--overwrite-plans-name NAME and train with --plans NAME. To give it up: delete-model /a b/m.x.",
            'To keep that model: choose it in "Start from" under Advanced. To give it up: delete it in the Models tab.',
        ),
        ('Install it with: pip install "segautoconfiglib[train]"', "Install it in the Setup tab."),
        (
            "Choose among them (-f, -chk), or finish the training (train --resume).",
            'Choose among them (Folds under Advanced), or finish the training ("Resume" in the Train tab).',
        ),
        ("Check that the folder is there - and not empty.", "Check that the folder is there - and not empty."),
    ],
)
def test_words(engine: str, panel: str) -> None:
    assert inWindow(engine) == panel


def test_problems_keep_the_rest() -> None:
    assert translated([Problem("m", "Use --device cpu.", "--device", "c")]) == [
        Problem("m", 'Use the device "cpu" (under Advanced).', "--device", "c")
    ]
