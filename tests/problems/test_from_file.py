"""Problems in files: which names they have, and what is wrong with one, in one line that names the file."""

import sys
from pathlib import Path

import pytest
from l2o_problems.file_names import is_file_name, located
from l2o_problems.from_file import problem_in_file
from l2o_problems.quadratics import Quadratic

from l2o_cli.errors import BadInput
from l2o_cli.spec.names import make_problem

FILE = """
from dataclasses import dataclass
from l2o_problems.quadratics import Quadratic

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
        (b"import nowhere_to_be_found", ["ModuleNotFoundError", "nowhere_to_be_found", "line 1"]),
        (b"\nx = 1 +", ["SyntaxError", "line 2"]),
        (b"raise KeyError", ["KeyError", "line 1"]),
        (b"raise ValueError('first\\nsecond')", ["ValueError: first"]),
        (b"import sys\nsys.exit(3)", ["SystemExit: 3", "line 2"]),
        (b"def again():\n    again()\nagain()", ["RecursionError"]),
        (b"from broken import one", ["ImportError", "one"]),
        (b"x = '\xff'", ["SyntaxError", "utf-8"]),
        (b"x = 1\0", ["null byte"]),
        (b"raise ValueError('x' * 5000)", ["ValueError: xxx", "..."]),
    ],
)
def test_a_file_that_cannot_be_run(tmp_path, text, words):
    file = tmp_path / "broken.py"
    file.write_bytes(text)
    for _ in range(2):  # a failed run must not be remembered as a module
        message = fault(file, "one")
        assert all(word in message for word in [str(file), *words]), message
    file.write_text(FILE)
    assert make_problem(f"{file}:one") == Quadratic(4)


def test_an_interrupt_stays_one(tmp_path):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        make_problem(f"{tmp_path}/slow.py:one")


def fault(file, name, options=None):
    """The one line that a problem is refused with."""
    with pytest.raises(BadInput) as caught:
        make_problem(f"{file}:{name}", options or {})
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300 + len(str(file)), message
    return message


OWN = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem
from l2o_problems.random import instance_keys, normal

@dataclass(frozen=True)
class Own(Problem):
    name: ClassVar[str] = "own"
    summary: ClassVar[str] = "squares"
    scale: float = 1.0

    @property
    def param_shapes(self):
        return {"w": (3,)}
    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}
    def initial_params(self, seed, task):
        return {"w": normal(seed, [task["key"].shape[0], 3])}
    def loss(self, params, task, batch):
        return tf.reduce_sum(self.scale * params["w"] ** 2, axis=1)
"""
W, SHAPE = 'params["w"]', '[task["key"].shape[0], 3]'
# What is replaced in it, and by what; words that the message has.
FAULTS = {
    "dtype": (
        "tf.reduce_sum(self.scale",
        "tf.reduce_sum(tf.cast(1, tf.float64) * self.scale",
        ["loss failed: line 23", "float64"],
    ),
    "dtype of the loss": (
        f"tf.reduce_sum(self.scale * {W} ** 2, axis=1)",
        f"tf.cast({W}[:, 0], tf.float64)",
        ["loss: expected float32 [2]", "float64 [2]"],
    ),
    "shape of the loss": ("axis=1", "axis=None", ["loss: expected float32 [2]", "found float32 []"]),
    "no loss": ("return tf.reduce_sum", "tf.reduce_sum", ["loss: expected", "NoneType"]),
    "dtype of the params": (f"normal(seed, {SHAPE})", f"tf.cast(normal(seed, {SHAPE}), tf.float64)", ["'w'", "float64 [2, 3]"]),
    "shape of the params": (
        ".shape[0], 3]",
        ".shape[0], 4]",
        ["initial_params: 'w': expected float32 [2, 3], found float32 [2, 4]"],
    ),
    "no instances": ('[task["key"].shape[0], 3]', "[3]", ["initial_params: 'w'", "first axis of 2 instances"]),
    "names": ('{"w": normal', '{"v": normal', ["initial_params: expected w", "found v"]),
    "no names": ('return {"w": (3,)}', "return {}", ["param_shapes", "at least one tensor"]),
    "zero size": ('{"w": (3,)}', '{"w": (3, 0)}', ["param_shapes: 'w'", "at least 1", "(3, 0)"]),
    "a number for a shape": ('{"w": (3,)}', '{"w": 3}', ["param_shapes: 'w'", "tuple", "int 3"]),
    "not finite": (f"normal(seed, {SHAPE})", f"normal(seed, {SHAPE}) / 0", ["initial_params: 'w'", "not finite"]),
    "None": ('return {"key": instance_keys(seed, instances)}', "return None", ["sample: expected {name: tensor}", "None"]),
    "no leaf": ('{"key": instance_keys(seed, instances)}', "{}", ["sample: expected at least one leaf"]),
    "an exception": ("return tf.reduce_sum", "params['x']; return tf.reduce_sum", ["loss failed: line 23: KeyError: 'x'"]),
    "exit": ("return tf.reduce_sum", "exit(0); return tf.reduce_sum", ["loss failed", "SystemExit"]),
    "a NaN option": ("scale: float = 1.0", "scale: float = float('nan')", ["option 'scale' is NaN"]),
    "a list for an option": ("scale: float = 1.0", "scale: tuple = ([1.0],)", ["frozen dataclass", "unhashable"]),
    "not frozen": ("frozen=True", "frozen=False", ["frozen dataclass"]),
    "no method": ("def loss", "def lost", ["abstract", "loss"]),
    "no gradient": (f"self.scale * {W} ** 2", f"tf.stop_gradient({W})", ["loss", "no gradient"]),
    "not its seed's": ("normal(seed, [", "tf.random.normal([", ["two draws with one seed differ", "l2o_problems.random"]),
    "no summary": ('    summary: ClassVar[str] = "squares"\n', "", ["summary failed", "AttributeError"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_problem_that_breaks_the_contract_is_refused_in_one_line(tmp_path, case):
    old, new, words = FAULTS[case]
    assert OWN.count(old) >= 1
    (tmp_path / "mine.py").write_text(OWN.replace(old, new, 1))
    message = fault(tmp_path / "mine.py", "Own")
    assert f"problem '{tmp_path}/mine.py:Own': " in message and all(word in message for word in words), message


def test_a_class_in_place_of_a_problem(tmp_path):
    (tmp_path / "mine.py").write_text(f"{OWN}\ndef made():\n    return Own\n")
    assert "expected a problem, found the class Own" in fault(tmp_path / "mine.py", "made")


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text)


def test_a_file_imports_what_lies_beside_it(tmp_path):
    """Two folders with neighbours of equal names, in modules, packages, and in functions that run later."""
    for folder, dimension in (("first", 3), ("second", 5)):
        write(
            tmp_path / folder,
            mine="from sizes import SIZE\nimport tools.deep\nfrom . import tools as same\n"
            "from l2o_problems.quadratics import Quadratic\n"
            "def made():\n    import late\n    return Quadratic(SIZE + tools.deep.MORE + late.more())\n"
            "assert same is tools and __import__('sizes').SIZE == SIZE\n",
            sizes=f"SIZE = {dimension}\nimport tools",
            tools__="",
            tools__deep="from sizes import SIZE\nfrom .other import ONE\nMORE = 10 * ONE",
            tools__other="ONE = 1",
            late="from sizes import SIZE\ndef more():\n    from tools import other\n    return 100 * other.ONE",
        )
        (tmp_path / folder / "tools" / "__init__.py").touch()
    made = [make_problem(f"{tmp_path}/{folder}/mine.py:made") for folder in ("first", "second")]
    assert [problem.dimension for problem in made] == [113, 115]
    assert not {"sizes", "tools", "late"} & sys.modules.keys()


def test_what_is_imported_already_is_not_taken_from_beside_a_file(tmp_path):
    write(
        tmp_path,
        mine="import numpy, types, l2o_problems, wave\nfrom l2o_problems.quadratics import Quadratic\n"
        "from beside import Data\nimport pickle\nassert pickle.loads(pickle.dumps(Data(2))) == Data(2)\n"
        "def made():\n    return Quadratic(int(numpy.array(3)) * len(wave.__name__) * Data(1).one)\n",
        beside="from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Data:\n    one: int",
        numpy="raise SystemExit('not this one')",
        types="raise SystemExit('not this one')",
        problems="raise SystemExit('not this one')",
        wave="raise SystemExit('not this one')",
    )
    assert make_problem(f"{tmp_path}/mine.py:made").dimension == 12


def test_a_fault_beside_a_file_is_said_with_its_place(tmp_path):
    write(tmp_path, mine="import beside", beside="\n1 / 0")
    message = fault(tmp_path / "mine.py", "one")
    assert "the file cannot be run: beside.py, line 2: ZeroDivisionError" in message
    write(tmp_path, beside=FILE, mine="from beside import one")
    assert make_problem(f"{tmp_path}/mine.py:one") == Quadratic(4)


def test_what_a_file_says_is_not_among_the_results(tmp_path, capsys):
    write(tmp_path, beside="print('beside')\n")
    file = tmp_path / "talking.py"
    file.write_text(
        "import sys\nfrom l2o_problems.quadratics import Quadratic\nimport beside\nprint('run', 1, sep='-')\n"
        "class Talking(Quadratic):\n"
        "    def loss(self, params, task, batch):\n        print('asked')\n        return super().loss(params, task, batch)\n"
        "def made():\n    sys.stdout.write('made\\n')\n    return Talking(2)\n"
    )
    problem = make_problem(f"{file}:made")
    task = problem.sample([0, 0], 1)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("beside\nrun-1\nmade\nasked\n")
    problem.loss(problem.initial_params([0, 0], task), task, problem.batch([0, 0], task, "train"))
    assert capsys.readouterr() == ("", "asked\n")
