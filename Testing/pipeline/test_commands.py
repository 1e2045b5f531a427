"""The table of nnU-Net's and TotalSegmentator's commands and flags against the parsers and against docs/commands.md."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from command_table import ACCEPTED, DOCUMENT, NOT_APPLICABLE, TASKS, V1, V2, Flag, Row, document, rows

from segautoconfiglib.cli.main import build_parser
from segautoconfiglib.cli.nnunet.names import COMMANDS as V2_COMMANDS
from segautoconfiglib.cli.nnunet_v1.names import COMMANDS as V1_COMMANDS
from segautoconfiglib.cli.totalsegmentator.names import COMMANDS as TASK_COMMANDS

Refused = Callable[..., str]
TABLE = {row.name: row for row in (*rows(V2), *rows(V1), *rows(TASKS))}
#: Words that make a command line of each command complete.
REFUSED_WORDS = {
    "nnUNetv2_preprocess_like_nnssl": ["-d", 7, "-n", "x", "-pc", "y"],
    "nnUNetv2_plan_like_dynamic": ["-d", 7, "-n", "x", "-pc", "y", "-pl", "z"],
    "nnUNetv2_train_pretrained": [7, "3d_fullres", 0, "-p", "x", "-num_gpus", 2],
    "nnUNet_change_trainer_class": ["-i", "x", "-tr", "y"],
}


def parser_of(name: str) -> argparse.ArgumentParser:
    return build_parser(name)[1]


def action_of(parser: argparse.ArgumentParser, flag: Flag, place: int) -> argparse.Action:
    """The parser's action for a flag, or for the argument at a place."""
    if flag.name.startswith("-"):
        return parser._option_string_actions[flag.name]
    return [action for action in parser._actions if not action.option_strings][place]


def positionals(row: Row) -> list[str]:
    return [flag.name for flag in row.flags if not flag.name.startswith("-")]


def test_the_table_has_all_commands_and_no_others() -> None:
    assert {row.name for row in rows(V2)} == set(V2_COMMANDS)
    assert {row.name for row in rows(V1)} == set(V1_COMMANDS)
    assert {row.name for row in rows(TASKS)} == {
        name for name, (module, _) in TASK_COMMANDS.items() if module != "unavailable"
    }


@pytest.mark.parametrize("name", TABLE)
def test_the_parser_takes_every_flag(name: str) -> None:
    parser, row = parser_of(name), TABLE[name]
    missing = [flag.name for flag in row.flags if flag.name.startswith("-")]
    missing = [flag for flag in missing if flag not in parser._option_string_actions]
    assert missing == []
    arguments = [action for action in parser._actions if not action.option_strings]
    assert len(arguments) == len(positionals(row))
    required = {flag.name for flag in row.flags if flag.default == "required" and flag.same and flag.name[0] == "-"}
    known = {option for action in parser._actions if action.required for option in action.option_strings}
    if not row.text.startswith(NOT_APPLICABLE):
        assert required <= known
    assert not [option for option in known if option not in required and not _also_known(parser, option, required)]


def _also_known(parser: argparse.ArgumentParser, option: str, names: set[str]) -> bool:
    """Whether an option is another name of one of these."""
    return bool(set(parser._option_string_actions[option].option_strings) & names)


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


@pytest.mark.parametrize("name", TABLE)
def test_defaults_are_nnunets(name: str) -> None:
    parser, row = parser_of(name), TABLE[name]
    for place, flag in enumerate(row.flags):
        action = action_of(parser, flag, place)
        if action.nargs == 0:
            assert flag.default == "", f"{flag.name} is a switch"
        elif not flag.same:
            assert _text(action.default) != flag.default
            assert flag.note
        elif re.fullmatch(r"[\d. ]+|nnUNet\w+[\w.]*|\w+ExperimentPlanner\w*|checkpoint_\w+\.pth", flag.default):
            assert flag.status in (ACCEPTED, NOT_APPLICABLE) or _text(action.default) == flag.default, flag.name


def test_whatever_does_not_work_has_a_reason() -> None:
    for row in TABLE.values():
        for flag in row.flags:
            assert flag.note or flag.status not in (ACCEPTED, NOT_APPLICABLE) or row.text.startswith(NOT_APPLICABLE)


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("nnUNetv2_train", ["4", "2d", "0", "--c"], {"resume": True}),
        ("nnUNetv2_train", ["4", "2d", "0", "--val", "--npz"], {"resume": False, "val": True, "npz": True}),
        ("nnUNetv2_train", ["4", "2d", "all", "-num_gpus", "2"], {"num_gpus": 2, "fold": "all"}),
        ("nnUNetv2_train", ["4", "2d", "1", "--disable"], {"disable_checkpointing": True}),
        ("nnUNetv2_predict", ["-i", "a", "-o", "b", "-d", "4", "-c", "2d", "--save"], {"save_probabilities": True}),
        ("nnUNetv2_predict_from_modelfolder", ["-i", "a", "-o", "b", "-m", "c", "--c"], {"continue_prediction": True}),
        ("nnUNetv2_plan_and_preprocess", ["-d", "1", "2", "--verify"], {"verify_dataset_integrity": True}),
        ("nnUNet_train", ["2d", "nnUNetTrainerV2", "7", "0", "-val"], {"validation_only": True}),
        ("nnUNet_train", ["2d", "nnUNetTrainerV2", "7", "0", "--disable_s"], {"disable_saving": True}),
        ("nnUNet_predict", ["-i", "a", "-o", "b", "-t", "7", "-f", "0"], {"folds": [0], "overwrite_existing": False}),
    ],
)
def test_what_users_type(name: str, words: list[str], expected: dict[str, Any]) -> None:
    arguments = vars(parser_of(name).parse_args(words))
    found = {key: arguments.get(key, arguments.get("gpus")) for key in expected}
    assert found == expected


@pytest.mark.parametrize("name", ["extract_fingerprint", "plan_experiment", "preprocess", "plan_and_preprocess"])
def test_unknown_flags_are_refused(refused: Refused, name: str) -> None:
    refused(f"nnUNetv2_{name}", "-d", 7, "--no_pbarr", says=["--no_pbarr", "--help"])


@pytest.mark.parametrize("name", REFUSED_WORDS)
def test_what_is_not_applicable_says_why(refused: Refused, name: str) -> None:
    reason = "not needed" if name == "nnUNet_change_trainer_class" else "self-supervised transformers"
    refused(name, *REFUSED_WORDS[name], says=[reason])


def test_every_command_that_is_refused_is_tried() -> None:
    assert {name for name, row in TABLE.items() if row.text.startswith(NOT_APPLICABLE)} == set(REFUSED_WORDS)


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), (
        f"run {Path(__file__).with_name('command_table.py')} --write"
    )


def test_every_command_line_of_the_tasks_page_is_one() -> None:
    text = DOCUMENT.with_name("totalsegmentator.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python -m segautoconfiglib (\S+) ([^#\n]*)", text, re.MULTILINE)
    inline = re.findall(r"`(totalseg_\w+) (-[^`]*)`", text)
    for name, words in [*lines, *inline]:
        parser_of(name).parse_args(words.split())
    shown = set(
        re.findall(r"(?<![\w-])--?[a-z][a-z_]+", re.sub(r"https?:\S+|```python.*?```", "", text, flags=re.DOTALL))
    )
    known = {option for name in TASK_COMMANDS for option in parser_of(name)._option_string_actions}
    assert len(lines) >= 3
    assert sorted(shown - known - {"-m"}) == []


@pytest.mark.parametrize("words", [[], ["--save-probabilities"], ["--npz"]])
def test_train_is_told_whether_to_save_probabilities(
    words: list[str], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from segautoconfiglib import pipeline

    given = []
    monkeypatch.setattr(pipeline, "train", lambda _context, _dataset, options: given.append(options))
    assert cli("train", 7, *words).code == 0
    assert [options.save_probabilities for options in given] == [bool(words)]
