from __future__ import annotations

import pickle

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError, naming, problem_list, reworded


def test_message_and_hint_make_the_text() -> None:
    assert str(UserError("a.json is empty.", "Write it again.")) == "a.json is empty. Write it again."
    assert str(UserError("a.json is empty.")) == "a.json is empty."


def test_problem_names_case_and_file() -> None:
    assert str(Problem("Value 7.", "Declare it.", file="l.nii.gz", case="c1")) == "c1: l.nii.gz: Value 7. Declare it."
    assert str(Problem("Value 7.")) == "Value 7."


def test_all_problems_stand_in_the_text() -> None:
    error = ProblemsError("2 problems:", [Problem("one"), Problem("two", case="c")], "Correct both.")
    assert str(error) == "2 problems:\n  - one\n  - c: two\nCorrect both."
    assert error.exit_code == 2


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ProblemsError("m", [Problem("p", "h", "f", "c")], "hint")))
    assert (error.message, error.problems, error.hint) == ("m", [Problem("p", "h", "f", "c")], "hint")
    plain = pickle.loads(pickle.dumps(UserError("m", "hint", "cpu")))
    assert (plain.message, plain.hint, plain.action) == ("m", "hint", "cpu")


def test_advice_stays_with_other_words() -> None:
    error = UserError("m", "Use --device cpu.", "cpu")
    for other in (reworded(error, "n"), naming("c", error)):
        assert (other.hint, other.action) == ("Use --device cpu.", "cpu")
    assert (reworded(error, "n").message, naming("c", error).message) == ("n", "Case c: m")
    assert naming("c", naming("c", error)).message == "Case c: m"
    problem = Problem.of(error, "f", "c")
    assert problem == Problem("m", "Use --device cpu.", "f", "c", "cpu")
    assert problem_list(ProblemsError("", [problem])) == [
        {"message": "m", "hint": "Use --device cpu.", "file": "f", "case": "c", "action": "cpu"}
    ]
