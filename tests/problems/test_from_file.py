"""Problems in files: which names they have, and what is wrong with one, in one line that names the file."""

from pathlib import Path

import pytest

from l2o_cli.errors import BadInput
from l2o_cli.spec.names import make_problem
from problems.from_file import is_file_name, located, problem_in_file
from problems.quadratics import Quadratic

FILE = """
from dataclasses import dataclass
from problems.quadratics import Quadratic

@dataclass(frozen=True)
class Steep(Quadratic):
    steepness: float = 2.0

    def loss(self, params, task, batch):
        return self.steepness * super().loss(params, task, batch)

def made(dimension=3, fail=False):
    if fail:
        raise ValueError("it was told to fail")
    return Quadratic(dimension)

one = Quadratic(4)
number = 3

def nothing():
    return None
"""


@pytest.fixture(name="file")
def _file(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def test_which_names_are_those_of_a_file():
    assert is_file_name("a/b.py:Name") and not is_file_name("quadratic")


def test_a_relative_name_is_relative_to_the_folder(tmp_path):
    assert located("mine.py:one", tmp_path) == f"{tmp_path}/mine.py:one"
    assert located("../mine.py:one", tmp_path / "specs") == f"{tmp_path}/mine.py:one"
    assert located(f"{tmp_path}/mine.py:one", Path("/elsewhere")) == f"{tmp_path}/mine.py:one"
    assert located("~/mine.py:one", tmp_path) == f"{Path.home()}/mine.py:one"
    assert located("quadratic", tmp_path) == "quadratic"


def test_a_class_a_function_and_a_problem(file):
    steep = make_problem(f"{file}:Steep", {"dimension": 5, "steepness": 3})
    assert steep.dimension == 5 and steep.steepness == 3.0 and type(steep).__name__ == "Steep"
    assert make_problem(f"{file}:made", {"dimension": 7}) == Quadratic(7)
    assert make_problem(f"{file}:one") == Quadratic(4)
    wrapped = make_problem(f"{file}:made", {}, [{"name": "rescale", "options": {"low": 0.5}}])
    assert wrapped.inner == Quadratic(3) and wrapped.low == 0.5


def test_a_file_is_run_once(file):
    assert problem_in_file(f"{file}:Steep") is problem_in_file(f"{file}:Steep")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("missing.py:one", {}, ["missing.py", "no file"]),
        ("mine.py:two", {}, ["mine.py", "'two'"]),
        ("mine.py:number", {}, ["mine.py", "'number'"]),
        ("mine.py:", {}, ["mine.py", "''"]),
        ("mine.py:nothing", {}, ["mine.py", "NoneType"]),
        ("mine.py:Steep", {"steepnes": 1}, ["mine.py", "steepnes"]),
        ("mine.py:Steep", {"dimension": 0}, ["mine.py", "dimension"]),
        ("mine.py:Steep", {"steepness": "much"}, ["mine.py", "steepness"]),
        ("mine.py:made", {"size": 1}, ["mine.py", "size"]),
        ("mine.py:made", {"fail": True}, ["mine.py", "it was told to fail"]),
        ("mine.py:one", {"dimension": 2}, ["mine.py", "dimension"]),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_file(file, name, options, words):
    with pytest.raises(BadInput) as caught:
        make_problem(f"{file.parent}/{name}", options)
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_to_be_found", ["ModuleNotFoundError", "nowhere_to_be_found"]),
        ("x = 1 +", ["SyntaxError"]),
        ("raise KeyError", ["KeyError"]),
        ("raise ValueError('first\\nsecond')", ["ValueError: first"]),
    ],
)
def test_a_file_that_cannot_be_run(tmp_path, text, words):
    file = tmp_path / "broken.py"
    file.write_text(text)
    for _ in range(2):  # a failed run must not be remembered as a module
        with pytest.raises(BadInput) as caught:
            make_problem(f"{file}:one")
        message = str(caught.value)
        assert all(word in message for word in [str(file), *words]) and "\n" not in message, message
    file.write_text(FILE)
    assert make_problem(f"{file}:one") == Quadratic(4)
