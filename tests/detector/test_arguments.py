"""The arguments of a detector, in scikit-learn's manners."""

import pickle
from inspect import signature

import pytest
from same_scores import same

import vlad
from vlad.errors import BackboneError, HeadError, InputError


def test_the_constructor_only_stores(small_file):
    made = vlad.load("winclip", backbone="no such backbone", category="nut", temperature=0.1)
    assert (made.category, made.head_params) == ("nut", {"temperature": 0.1})
    assert not [name for name in vars(made) if name.endswith("_")]


def test_detectors_share_a_backbone_and_pickle_without_it(detector, drawn):
    other = vlad.load("memory", backbone="no such backbone", layers=(1, 3))
    other.backbone_ = detector.backbone_
    same(other.fit(drawn[:2]).score(drawn), detector.score(drawn))
    weights = sum(x.nbytes for x in detector.backbone_.model.state_dict().values())
    assert len(pickle.dumps(detector)) < weights / 2


def test_clone_and_params_as_scikit_learn_has_them(detector, drawn):
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    params = detector.get_params()
    assert params.keys() == signature(vlad.Detector).parameters.keys()
    assert params["head_params"] == {"layers": (1, 3)}
    copy = clone(detector)
    assert copy.get_params() == params and not hasattr(copy, "head_")
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(copy.fit(drawn[:2]))
    same(copy.score(drawn), detector.score(drawn))
    assert copy.set_params(batch_size=3, bits=12) is copy
    assert (copy.batch_size, copy.setup.bits) == (3, 12)
    with pytest.raises(InputError, match=r"no argument batchsize. Did you mean batch_size\?"):
        copy.set_params(batchsize=3)
    with pytest.raises(InputError, match="batch_size is 0"):
        copy.set_params(batch_size=0)
    assert copy.batch_size == 3


def test_repr_names_what_is_not_the_default():
    assert repr(vlad.Detector()) == "Detector()"
    made = vlad.load("winclip", tile=64, temperature=0.1)
    assert eval(repr(made), {"Detector": vlad.Detector}).get_params() == made.get_params()
    assert repr(made) == "Detector(head='winclip', tile=64, head_params={'temperature': 0.1})"


def test_a_setting_changed_after_use_takes_effect_and_is_saved(small_file, drawn, tmp_path):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    before = made.score(drawn)
    made.bank = "medical"
    after = made.score(drawn)
    other = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    same(after, other.set_params(bank="medical").score(drawn))
    assert (after.image_score != before.image_score).any()
    same(vlad.Detector.load(made.save(tmp_path)).score(drawn), after)
    made.head_params = {"temperature": 0.5}
    assert (made.score(drawn).image_score != after.image_score).any()
    made.head, made.head_params = "memory", None
    assert made.fit(drawn[:2]).score(drawn).anomaly_map.shape == (6, 64, 64)


@pytest.mark.parametrize(
    "change",
    [{"image_size": 96}, {"tile": 48}, {"bits": 12}, {"head_params": {"layers": (2,)}}],
    ids=str,
)
def test_a_setting_that_fit_rests_on_asks_for_another_fit(detector, drawn, change, tmp_path):
    ((name, _),) = change.items()
    for use in (detector.score, detector.partial_fit, lambda images: detector.save(tmp_path)):
        detector.set_params(**change)
        with pytest.raises(HeadError, match=f"`{name}` changed after `fit`; call `fit` again"):
            use(drawn)
    assert len(detector.fit(drawn[:2]).score(drawn)) == 6


def test_a_parameter_changed_in_place_is_noticed(detector, drawn):
    detector.head_params["layers"] = (2,)
    with pytest.raises(HeadError, match="`head_params` changed after `fit`"):
        detector.score(drawn)


def test_a_setting_that_a_threshold_rests_on_asks_for_another(detector, drawn, tmp_path):
    detector.calibrate(drawn[2:], false_alarms=0.3).batch_size = 2
    assert len(detector.predict(drawn)) == 6
    detector.category = "cable"
    for use in (detector.predict, lambda images: detector.save(tmp_path)):
        with pytest.raises(HeadError, match="`category` changed after `calibrate`"):
            use(drawn)
    assert len(detector.calibrate(drawn[2:], false_alarms=0.3).predict(drawn)) == 6
    loaded = vlad.Detector.load(detector.save(tmp_path))
    loaded.category = "nut"
    with pytest.raises(HeadError, match="`category` changed after `calibrate`"):
        loaded.predict(drawn)


def test_another_backbone_is_loaded_when_it_is_set(detector, drawn):
    detector.backbone = "no such backbone"
    with pytest.raises(HeadError, match="`backbone` changed after `fit`"):
        detector.score(drawn)
    with pytest.raises(BackboneError, match="no such backbone"):
        detector.fit(drawn)


@pytest.mark.parametrize(
    ("head", "options", "says"),
    [
        ("memory", {"backbon": "x"}, r"Head memory has no option backbon. Did you mean backbone\?"),
        ("memory", {"layer": (1,)}, r"Did you mean layers\?"),
        ("winclip", {"zzz": 1}, "choose from head, backbone, .*, temperature"),
        ("memroy", {}, "memroy"),
    ],
)
def test_a_misspelt_name_is_said_at_once(head, options, says):
    with pytest.raises(HeadError, match=says):
        vlad.load(head, **options)


@pytest.mark.parametrize("false_alarms", [2, 0, -1, float("nan"), True, "0.1", None])
def test_false_alarms_out_of_range(detector, drawn, false_alarms):
    with pytest.raises(InputError, match=r"false_alarms is .*; give a number between 0 and 1"):
        detector.calibrate(drawn, false_alarms=false_alarms)


@pytest.mark.parametrize("confidence", [90, 0.5, float("nan"), True, "0.9"])
def test_a_confidence_out_of_range(detector, drawn, confidence):
    with pytest.raises(InputError, match=r"confidence is .*; give a number between 0\.5 and 1"):
        detector.calibrate(drawn, 0.3, confidence=confidence)
