"""Tipsomaly: fixed prompts for the image score, prompts behind learned words for the map."""

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from vlad.adapters.layouts import default_params, tensor_shapes
from vlad.errors import AdapterError
from vlad.heads.facts import head_facts
from vlad.heads.tipsomaly import Tipsomaly
from vlad.prompts import load_bank
from vlad.scoring.panel import Panel
from vlad.types import BackboneInfo


@pytest.fixture
def make(small_backbone):
    return lambda adapter=None: Panel(small_backbone, {"tipsomaly": Tipsomaly(adapter)})


@pytest.fixture(scope="module")
def adapter(small_adapter):
    return small_adapter("tipsomaly")


def side(rows):
    return F.normalize(F.normalize(rows, dim=-1).mean(dim=0), dim=0)


def sides(backbone, noun, context=(None, None)):
    """Vectors of the normal and anomalous sentences about a noun, behind learned words."""
    prompts = load_bank("adaclip").expand(noun)  # the same sentences
    both = zip((prompts.normal, prompts.anomalous), context, strict=True)
    with torch.no_grad():
        return [side(backbone.encode_text(said, context=words)) for said, words in both]


def probability(tokens, normal, anomalous):
    tokens = F.normalize(tokens, dim=-1)
    return torch.stack([tokens @ normal, tokens @ anomalous]).div(0.01).softmax(dim=0)[1]


def expected(panel, image, fixed, learned):
    prepared = panel.prepare(image)
    (features,) = panel.extractor.extract([prepared], [panel.specs["tipsomaly"]])
    local = probability(features.patches[4][0], *learned)
    score = probability(features.image[0], *fixed) + local.max()
    full = F.interpolate(local.reshape(1, 1, 4, 4), (64, 64), mode="bilinear")
    return score, torch.from_numpy(gaussian_filter(full[0, 0].numpy(), 4))


def assert_scores(panel, image, fixed, learned):
    score, anomaly_map = expected(panel, image, fixed, learned)
    found = panel.score([panel.prepare(image)], "metal_nut")["tipsomaly"]
    torch.testing.assert_close(found.image_score[0], score, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.anomaly_map[0], anomaly_map, atol=1e-5, rtol=0)


def test_against_a_plain_computation(make, adapter, small_backbone, drawn):
    panel = make(adapter)
    t = panel.heads["tipsomaly"].adapter_.tensors
    context = (t["context.normal"], t["context.anomalous"])
    assert [tuple(words.shape) for words in context] == [(8, small_backbone.info.text_width)] * 2
    fixed, learned = sides(small_backbone, "metal nut"), sides(small_backbone, "object", context)
    assert (fixed[1] - learned[1]).abs().max() > 1e-2
    assert_scores(panel, drawn[0], fixed, learned)


def test_without_an_adapter_the_fixed_prompts_serve_for_both(make, small_backbone, drawn):
    fixed = sides(small_backbone, "metal nut")
    assert_scores(make(), drawn[0], fixed, fixed)
    assert head_facts("tipsomaly").needs == "a category; an adapter optional"


def test_the_category_changes_the_score_and_not_the_map(make, adapter, drawn):
    panel = make(adapter)
    prepared = [panel.prepare(drawn[5])]
    one, other = (panel.score(prepared, noun)["tipsomaly"] for noun in ("nut", "carpet"))
    torch.testing.assert_close(one.anomaly_map, other.anomaly_map)
    assert (one.image_score - other.image_score).abs().max() > 1e-3


def test_a_backbone_whose_text_encoder_takes_no_words():
    info = BackboneInfo("plain", 4, 32, 16, 16, 64, has_text=True)
    with pytest.raises(AdapterError, match="none that accepts them; choose"):
        tensor_shapes("tipsomaly", info, default_params("tipsomaly", info))


@pytest.mark.parametrize("head", ["anomalyclip", "adaclip"])
def test_learned_words_do_not_make_learned_tokens_in_blocks(head):
    """The text encoder of TIPSv2 takes words in front of a sentence and nothing between blocks."""
    info = BackboneInfo("tips", 4, 32, 32, 16, 64, has_text=True, text_width=32)
    assert tensor_shapes("tipsomaly", info, default_params("tipsomaly", info))
    with pytest.raises(AdapterError, match="none that accepts them; choose"):
        tensor_shapes(head, info, default_params(head, info))
