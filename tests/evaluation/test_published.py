"""The published figures that ship with vlad: whole, unambiguous, and of heads that exist."""

import hashlib

import pytest

from vlad.adapters.cards import registry
from vlad.errors import InputError
from vlad.evaluation.published import KINDS, SHOWN, published, read_published
from vlad.heads import HEADS, load_head

KNOWN = published()


def test_each_head_and_set_has_one_figure_to_judge_by():
    for head in KNOWN.methods:
        for data in KNOWN.data:
            for k_shot in KNOWN.shots(head, data):
                found = KNOWN.of(head, data, k_shot)
                assert [figure.target for figure in found] == [True] + [False] * (len(found) - 1)
    heads = {figure.head for figure in KNOWN.figures}
    assert heads == set(KNOWN.methods) <= set(HEADS)
    assert {figure.data for figure in KNOWN.figures} <= set(KNOWN.data)


def test_figures_are_percentages_with_a_source():
    for figure in KNOWN.figures:
        assert figure.kind in KINDS and figure.source
        assert figure.values and all(1 < value < 100 for value in figure.values.values())
        assert set(figure.std) <= set(figure.values) <= set(SHOWN)


def test_methods_run_heads_as_they_are():
    for method in KNOWN.methods.values():
        sets = [data for data in KNOWN.data if KNOWN.shots(method.head, data)]
        assert set(method.params_for) <= set(sets)
        for data in sets:
            head = load_head(method.head, **method.params_on(data))
            assert data in method.adapter or not getattr(head, "needs_adapter", False)


def test_figures_rest_on_the_adapter_that_their_authors_used():
    for method in KNOWN.methods.values():
        for data, adapter in method.adapter.items():
            # on VisA for MVTec AD, and on MVTec AD for all others
            assert adapter.split("-")[1] == ("visa" if data == "mvtec" else "mvtec")
            assert adapter in registry() or method.differs


def test_musc_scores_visa_with_neighbourhoods_of_its_own():
    method = KNOWN.methods["musc"]
    assert method.params_on("visa") == {"rescore": [1, 8, 9]}
    assert method.params_on("mvtec") == {}


def test_winclip_has_the_sentences_of_the_program_it_is_judged_by():
    assert KNOWN.methods["winclip"].bank == "winclip_anomalib"
    assert KNOWN.method("winclip").params == {"patch_output": "raw"}


def test_the_target_of_adaclip_has_all_re_runs_within_its_tolerance():
    tolerance = KNOWN.methods["adaclip"].tolerance
    for data in ("mvtec", "visa"):
        target, *others = KNOWN.of("adaclip", data, 0)
        runs = [figure.values["image_auroc"] for figure in others if figure.kind == "re-run"]
        assert runs and max(abs(x - target.values["image_auroc"]) for x in runs) < tolerance + 0.01


def test_what_the_authors_measure_otherwise_is_not_judged():
    differs = {name: set(method.differs) for name, method in KNOWN.methods.items()}
    assert {name: sets for name, sets in differs.items() if sets} == {
        "tipsomaly": {"mvtec", "visa"}, "anomalydino": {"mvtec"}, "subspace": {"mvtec"},
    }  # fmt: skip
    assert KNOWN.methods["adaptclip"].unjudged == ["pixel_ap"]


def test_the_categories_of_a_set_are_named():
    assert {name: len(one.categories) for name, one in KNOWN.data.items()} == {
        "mvtec": 15, "visa": 12, "btad": 3, "mpdd": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "metric", "value"),
    [
        (("winclip", "mvtec", 0), "image_auroc", 90.4),
        (("winclip", "visa", 4), "pixel_auroc", 95.2),
        (("musc", "mvtec", 0), "image_auroc", 97.77),
        (("musc", "visa", 0), "aupro", 92.43),
        (("anomalyclip", "mvtec", 0), "pixel_auroc", 91.1),
        (("adaclip", "mvtec", 0), "image_auroc", 90.3),
        (("adaclip", "visa", 0), "image_auroc", 81.7),
        (("anomalydino", "mvtec", 1), "image_auroc", 96.6),
        (("winclip", "mvtec", 8), "pixel_ap", 42.4),
        (("adaptclip", "visa", 2), "image_auroc", 92.2),
        (("subspace", "mvtec", 1), "image_auroc", 98.0),
    ],
)
def test_the_figure_to_judge_by(key, metric, value):
    assert KNOWN.of(*key)[0].values[metric] == value


def test_no_figure_changed_unnoticed():
    """After a figure was changed on purpose, and read again in its source, change the digest."""
    found = sorted(
        repr([*key, sorted(f.values.items()), sorted(f.std.items())])
        for f in KNOWN.figures
        for key in [(f.head, f.data, f.k_shot, f.kind, f.source, f.target)]
    )
    assert hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] == "32246381c27d783b"


def test_an_unknown_head_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean winclip"):
        KNOWN.method("wincilp")


def test_defaults_of_a_file():
    found = read_published(
        '[[data]]\nname="a"\ntitle="A"\ncategories=["b", "c"]\ntest_images=9\n'
        'where="w"\nlicence="l"\n'
        '[[method]]\nhead="memory"\nbackbone="vlad-tiny"\n'
        '[[figure]]\nhead="memory"\ndata="a"\nkind="paper"\nsource="s"\nimage_auroc=90\n'
    )
    (figure,) = found.figures
    assert (figure.k_shot, figure.target, figure.values) == (0, False, {"image_auroc": 90.0})
    assert found.methods["memory"].tolerance == 1.0
    assert found.data["a"].categories == ("b", "c")
