"""Commands that messages advise, as people see them: ready to be copied, and whole on narrow terminals."""

from __future__ import annotations

import io
import re

import pytest

from segautoconfiglib.base.terminal import HumanReporter
from segautoconfiglib.base.words import command

GIVEN = ("--workspace", "my data")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, kind: str = "error", *, given: tuple[str, ...] = GIVEN, **data: object) -> list[str]:
    """The lines that an event becomes, without colours."""
    report = HumanReporter(stream, given)
    report(kind, **data)
    report.close()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).splitlines()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    return Terminal()


def test_commands_repeat_what_this_run_was_given() -> None:
    for kind, key in (("error", "hint"), ("error", "message"), ("log", "message")):
        lines = shown(io.StringIO(), kind, **{"message": "", key: f"First {command('plan', 4)}, then this."})
        assert lines[-1].endswith("First `python -m segautoconfiglib plan 4 --workspace 'my data'`, then this.")
    problem = {"message": "Label 7.", "hint": f"See {command('info')}"}
    assert shown(io.StringIO(), message="Wrong.", problems=[problem]) == [
        "Error: Wrong.",
        "  - Label 7. See python -m segautoconfiglib info --workspace 'my data'",
    ]


def test_without_such_options_commands_are_as_they_were_written() -> None:
    assert shown(io.StringIO(), "log", given=(), message=f"Next: {command('train', 4)}") == [
        "Next: python -m segautoconfiglib train 4"
    ]


def test_other_words_in_quotes_are_no_commands() -> None:
    text = "Use `torch.load`, or `python -m pip`."
    assert shown(io.StringIO(), "log", message=text) == [text]


def test_a_list_of_commands_has_a_line_for_each(screen: Terminal) -> None:
    commands = [command("train", "Dataset004_Liver", "--fold", fold) for fold in (0, 1)]
    data = {"message": "Two folds are missing.", "hint": "Run:\n{}\n{}\nThen this again.".format(*commands)}
    expected = [
        "Error: Two folds are missing.",
        "  Run:",
        "  python -m segautoconfiglib train Dataset004_Liver --fold 0 --workspace 'my data'",
        "  python -m segautoconfiglib train Dataset004_Liver --fold 1 --workspace 'my data'",
        "  Then this again.",
    ]
    assert shown(io.StringIO(), **data) == expected  # type: ignore[arg-type]
    assert shown(screen, **data) == expected  # type: ignore[arg-type]


def test_long_lines_are_divided_at_spaces_for_a_terminal_only(screen: Terminal) -> None:
    words = "The images of these two cases have other voxel axes than the rest of the dataset has."
    path = "/data/" + "a-long-name/" * 6 + "image.nii.gz"
    hint = f"Reorient them, {words} See {path} or {command('verify', 4)}, which lists them."
    data = {"message": words, "hint": hint, "problems": [{"message": words}]}
    assert shown(screen, given=(), **data) == [  # type: ignore[arg-type]
        "Error: The images of these two cases have other voxel axes",
        "  than the rest of the dataset has.",
        "  - The images of these two cases have other voxel axes than",
        "    the rest of the dataset has.",
        "  Reorient them, The images of these two cases have other",
        "  voxel axes than the rest of the dataset has. See",
        f"  {path}",
        "  or `python -m segautoconfiglib verify 4`, which lists",
        "  them.",
    ]
    assert len(shown(io.StringIO(), given=(), **data)) == 3  # type: ignore[arg-type]
