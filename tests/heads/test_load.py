"""Heads that are loaded: by name, from a file, as instances; what their parameters may be."""

import inspect
import pickle
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from vlad.cli import main
from vlad.errors import HeadError
from vlad.heads import HEADS, head_maker, load_head
from vlad.heads.memory import Memory
from vlad.images.normals import ITSELF
from vlad.scoring.panel import Panel
from vlad.types import Features, FeatureSpec, Scores

# what no parameter of any head takes
WRONG = [float("nan"), float("inf"), -1, -0.5, 10**400, 1e300, b"x", {}, {"a": 1}, object()]
WRONG += [[float("nan")], [True], ["a"], [10**30], [[1]], (1, "a"), (float("nan"), 1), [0, -1]]
TEXTS = ("model", "model_name", "question", "noun", "keywords")  # any line of text
FILE = '''
"""A head in a file."""
import torch
from vlad.heads import Head
from vlad.types import FeatureSpec, Scores

def first(features):
    return features.patches[1][..., 0].mean(dim=1)

class Brightness(Head):
    """The mean of the first channel."""
    map_range = (-100.0, 100.0)

    def __init__(self, scale=1.0):
        self.scale = scale

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def score(self, features, text=None):
        score = self.scale * first(features)
        return Scores(score, score[:, None, None].expand(-1, *features.size))

class Named(Brightness):
    name = "light"
'''


def parameters():
    for name in HEADS:
        for param, known in inspect.signature(head_maker(name)).parameters.items():
            yield pytest.param(name, param, known.default, id=f"{name}.{param}")


@pytest.mark.parametrize(("name", "param", "default"), list(parameters()))
def test_wrong_values_are_refused_at_once(name, param, default):
    wrong = [x for x in WRONG if x != ["a"] or param != "keywords"]  # which is a list of words
    wrong += [*({True, False} if type(default) is not bool else {0, 1})]
    wrong += [] if param == "adapter" else ["", "\0\n" * 200]
    wrong += [] if param in ("adapter", *TEXTS) else ["nonsense"]
    for value in wrong:
        with pytest.raises(HeadError, match=f"^Head {name}: {param} is ") as caught:
            load_head(name, **{param: value})
        assert str(caught.value).count(". ") == 0
        assert str(caught.value).isprintable()
    assert getattr(load_head(name, **{param: default}), param) == default


def test_a_head_whose_parameter_was_changed_is_checked_again(small_backbone):
    head = load_head("memory")
    head.top = -1
    with pytest.raises(HeadError, match=r"^Head memory: top is -1; give a share from 0 to 1\.$"):
        Panel(small_backbone, {"memory": head})


def test_names_that_are_nearly_right():
    with pytest.raises(HeadError, match=r"^Unknown head 'memroy'\. Did you mean memory\?$"):
        load_head("memroy")
    near = r"^Unknown parameter memory\.rotation\. Did you mean memory\.rotations\?$"
    with pytest.raises(HeadError, match=near):
        load_head("memory", rotation=8)


def test_an_instance():
    head = Memory(rotations=2)
    assert load_head(head) is head
    assert head.name == "memory"
    head.name = "mine"
    assert load_head(head).name == "mine"
    with pytest.raises(HeadError, match="set rotations when you make it"):
        load_head(head, rotations=4)
    with pytest.raises(HeadError, match=r"^Head memory: top is -1; give "):
        load_head(Memory(top=-1))


def test_what_is_no_head():
    with pytest.raises(HeadError, match=r"^Head int has no \w+; make its class a subclass"):
        load_head(3)


class Duck:
    """All that a head has, without the base class."""

    bank, normals, map_range, rules, normal_views = None, "unused", (-100.0, 100.0), {}, ITSELF
    additive = approximate = transductive = fitted = boxes = False
    memory_, adapter_, known = {}, None, ()

    def to(self, device):
        return self

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def gather(self):
        return None

    def fit(self, features):
        return self

    def score(self, features, text=None):
        score = features.patches[1][..., 0].mean(dim=1)
        return Scores(score, score[:, None, None].expand(-1, *features.size))


def test_an_object_with_all_parts_of_a_head_is_one(small_backbone, drawn):
    head = load_head(Duck())
    assert head.name == "duck"
    panel = Panel(small_backbone, {"duck": head}).fit(drawn[:1])
    assert panel.score([panel.prepare(drawn[0])])["duck"].image_score.shape == (1,)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_head.py").write_text(FILE)
    return tmp_path / "my_head.py"


def test_a_head_from_a_file(file):
    head = load_head("my_head.py:Brightness", scale=2.0)
    assert (head.name, head.scale) == ("brightness", 2.0)
    assert load_head(f"{file}:Named").name == "light"
    assert not [name for name in sys.modules if "my_head" in name]


BASE = "from vlad.heads import Head\nclass X(Head): pass"
BROKEN = [
    (FILE, "Brigthness", r"^my_head\.py has no class 'Brigthness'\. Did you mean Brightness\?$"),
    (FILE, "torch", r"^my_head\.py has no class 'torch'; choose from Brightness, Named\.$"),
    ("import nowhere", "X", r"^Cannot import my_head\.py \(ModuleNotFoundError: .*nowhere"),
    ("def x(:", "X", r"^Cannot import my_head\.py \(SyntaxError: "),
    ("raise SystemExit(3)", "X", r"^Cannot import my_head\.py \(SystemExit: 3\); correct it"),
    ("class X: pass", "X", r"^Head x has no \w+; make its class a subclass"),
    (BASE, "X", r"^Cannot create head my_head\.py:X .*abstract.*; correct its class"),
]


@pytest.mark.parametrize(("text", "name", "says"), BROKEN)
def test_what_is_wrong_with_a_file(file, text, name, says):
    file.write_text(text)
    with pytest.raises(HeadError, match=says) as caught:
        load_head(f"my_head.py:{name}")
    assert str(caught.value).isprintable()


def test_a_file_that_is_not_there():
    with pytest.raises(HeadError, match=r"^File none\.py not found; check"):
        load_head("none.py:X")


def test_workers_of_ray_need_not_have_the_file(file):
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    sent = cloudpickle.dumps(load_head("my_head.py:Brightness", scale=3.0))
    file.unlink()
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).scale)"
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True)
    assert done.stdout.split() == [b"3.0"], done.stderr
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(pickle.loads(sent))


def test_a_file_on_the_command_line(file, small_file, images, tmp_path):
    words = ["score", images, "--head", "my_head.py:Brightness,memory", "--normal", images]
    words += ["--param", "brightness.scale=0", "--backbone", small_file, "--device", "cpu"]
    done = CliRunner().invoke(main, list(map(str, [*words, "--out", tmp_path / "run"])))
    assert done.exit_code == 0, done.output
    rows = (tmp_path / "run" / "scores.csv").read_text().splitlines()
    columns = rows[0].split(",")
    assert columns[:3] == ["path", "brightness", "memory"]
    assert all(float(row.split(",")[1]) == 0 for row in rows[1:])


def test_two_heads_of_one_name(file, images):
    words = ["score", str(images), "--out", "run", "--head", f"my_head.py:Named,{file}:Named"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "have the same name; set another in one class" in done.output


def test_what_a_head_remembers_moves_with_it():
    head = load_head("memory")
    assert not head.fitted
    features = Features(None, {1: torch.randn(2, 4, 8)}, (2, 2), (32, 32))
    assert head.fit(features).fitted
    moved = head.to("meta")
    assert moved is head
    assert {x.device.type for x in head.memory_.values()} == {"meta"}
    assert not load_head("memory").fitted


def test_features_of_several_batches_as_one():
    def some(count):
        random = torch.randn(count, 5)
        return Features(random, {1: torch.randn(count, 4, 8)}, (2, 2), (32, 32), bfloat16=True)

    parts = [some(2), some(3)]
    found = Features.cat(parts)
    assert torch.equal(found.image, torch.cat([p.image for p in parts]))
    assert torch.equal(found.patches[1], torch.cat([p.patches[1] for p in parts]))
    assert found.plain is None
    assert (found.grid, found.size, found.bfloat16) == ((2, 2), (32, 32), True)
