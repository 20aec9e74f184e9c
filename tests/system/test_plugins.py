"""What other packages register by entry points: metrics, generators, layouts of adapters."""

import numpy as np
import pytest

from vlad.adapters.layouts import layout_names, layout_of
from vlad.errors import AdapterError, HeadError, InputError, VladError
from vlad.heads import load_head
from vlad.metrics import registered_metrics
from vlad.synthetic import GENERATORS, generator_names, load_generators

MODULE = """
from vlad.adapters.layouts import Layout

LAYOUT = Layout(lambda backbone, params: {"x": (params["size"],)}, defaults={"size": 3})

def drawn(image, sources, rng):
    return image, image[..., 0] >= 0, "nothing"

def order(labels, scores):
    return scores[labels == 1].mean() - scores[labels == 0].mean()

def fails(labels, scores):
    raise ZeroDivisionError("no way")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a module with the entry points given as group -> lines."""

    def install(**groups):
        (tmp_path / "brought.py").write_text(MODULE)
        info = tmp_path / "brought-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
        text = "".join(f"[vlad.{group}]\n{lines}\n" for group, lines in groups.items())
        (info / "entry_points.txt").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_a_metric(package):
    assert registered_metrics([1.0, 2.0], [0, 1]) == {}
    package(metrics="gap = brought:order")
    assert registered_metrics(np.array([1.0, 4.0]), [False, True]) == {"image_gap": 3.0}


def test_a_metric_that_fails(package):
    package(metrics="broken = brought:fails")
    says = r"the metric broken of another package failed \(ZeroDivisionError: no way\)"
    with pytest.raises(InputError, match=says):
        registered_metrics([1.0, 2.0], [0, 1])


def test_a_generator_goes_by_its_name_and_is_not_among_the_defaults(package):
    package(synthetic="nothing = brought:drawn")
    assert generator_names() == [*GENERATORS, "nothing"]
    assert load_generators(["nothing"])["nothing"].__module__ == "brought"
    assert list(load_generators()) == list(GENERATORS)
    with pytest.raises(InputError, match=r"unknown generator 'scrach'\. Did you mean scratch\?"):
        load_generators(["scrach"])


def test_a_layout(package):
    with pytest.raises(AdapterError, match="Head 'mine' uses no adapter"):
        layout_of("mine")
    package(layouts="mine = brought:LAYOUT")
    assert layout_of("mine").defaults == {"size": 3}
    assert "mine" in layout_names()
    assert "uniadet" in layout_names()


def test_a_package_that_cannot_be_imported(package):
    package(heads="broken = brought:nowhere\nmemory = brought:nowhere")
    says = r"^broken, registered under vlad.heads as brought:nowhere, cannot be imported \(Attrib"
    with pytest.raises(VladError, match=says):
        load_head("broken")
    assert type(load_head("memory")).__name__ == "Memory"  # ours go before theirs
    with pytest.raises(HeadError, match=r"Unknown head 'brokne'\. Did you mean broken\?"):
        load_head("brokne")
