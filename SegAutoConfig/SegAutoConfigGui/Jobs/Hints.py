"""The engine's advice in words of the panels: it names options of its command line, which a window does not have."""

import re
from dataclasses import replace

from SegAutoConfigGui.Problems import Problem

#: What the engine says -> what the panels call it. Tried in this order: sentences first, single options last.
_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"train \S+ --continue-from .+, or plan \S+ --overwrite-plans-name NAME and train with --plans NAME",
        'choose it in "Start from" under Advanced',
    ),
    (r"Plan anew: plan .+", "Make a new dataset of the cases in the Dataset tab."),
    (r"plan \S+ --overwrite-plans-name NAME, then train \S+ --plans NAME", "make a new dataset of its cases"),
    (r"Give what it was started with \(--.+?\), or leave out --resume", 'Press "Resume" of that training'),
    (r"Replace it with --overwrite, or import under .+", "Delete that model in the Models tab first."),
    (r"Give (?:it|another one): --dataset .+", "Ask for a file in which the dataset is named like Dataset123_Name."),
    (r"delete-model .+?(?=\.?$)", "delete it in the Models tab"),
    (r"\(-f, -chk\)", "(Folds under Advanced)"),
    (r"train (?:with )?--resume", '"Resume" in the Train tab'),
    (r"run the command with --\w+", 'press "Resume"'),
    (r"(?:Install it with: )?pip install .+", "Install it in the Setup tab."),
    (r"Use fewer workers(?: \([^)]*\))?(?:, c| or c)lose", "Close"),
    (r", use fewer --workers|, or use --workers 0: .+(?=\.)", ""),
    (r" ?\(--(?:budget|id|dataset)\b[^)]*\)", ""),
    (r"a --budget|--budget(?: [\dA-Z]\w*)?", "a time"),
    (r"train with --overwrite|--overwrite\b(?!-)", '"Start over"'),
    (r"--resume", '"Resume"'),
    (r"--fold all", 'the fold "all" (under Advanced)'),
    (r"--fold\b", "the fold (under Advanced)"),
    (r"--continue-from", '"Start from" under Advanced'),
    (r"--gpu-memory-target", '"GPU memory" under Advanced'),
    (r"--configuration", '"Configuration" under Advanced'),
    (r"--planner", '"Planner" under Advanced'),
    (r"--device ([\w:]+)", r'the device "\1" (under Advanced)'),
    (r"another workspace \(--workspace\)|another --workspace", "another workspace in the Setup tab"),
    (r"--workspace(?: or nnUNet_\w+)?", "the workspace in the Setup tab"),
)


def inWindow(text: str) -> str:
    """A hint of the engine for somebody who sits before the panels."""
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return text


def translated(problems: list[Problem]) -> list[Problem]:
    """Problems of the engine for the panels; messages stay: they name files and datasets, and no options."""
    return [replace(one, hint=inWindow(one.hint)) for one in problems]
