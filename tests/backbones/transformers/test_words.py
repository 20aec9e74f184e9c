"""What text encoders of transformers read of a long sentence."""

import pytest
import torch
from tiny_models import TEXT, TINY, tokenizer

from vlad.backbones import load_backbone
from vlad.backbones.transformers.kinds import KINDS
from vlad.errors import HeadError

LIMIT = TEXT["max_position_embeddings"]


@pytest.mark.parametrize("kind", [kind for kind, found in KINDS.items() if found.text])
def test_a_long_sentence_is_read_up_to_the_last_position(kind, tmp_path):
    backbone = load_backbone(str(TINY[kind]().save(tmp_path)), device="cpu")
    # RoBERTa, inside AltCLIP, leaves the positions up to that of padding, 1, to no token
    limit = LIMIT - 2 if kind == "altclip" else LIMIT
    assert backbone.text.context.limit == limit
    whole, long = (" ".join(["nut"] * count) for count in (limit - 2, limit + 20))
    embeddings = backbone.encode_text([whole, long])
    torch.testing.assert_close(embeddings[0], embeddings[1], atol=1e-5, rtol=0)
    if kind != "siglip2":  # its tokenizer would need other words
        assert backbone.text.context.cut([whole, long]) == [long]


@pytest.fixture(scope="module")
def tips(tmp_path_factory):
    return load_backbone(str(TINY["tipsv2"]().save(tmp_path_factory.mktemp("tips"))), device="cpu")


@torch.no_grad()
def test_tipsv2_reads_learned_words_as_if_they_were_words(tips):
    text = tips.model.text_model
    words = tokenizer()(["nut broken", "nut"], padding=True, return_tensors="pt")
    ids, mask = words["input_ids"], words["attention_mask"]
    assert mask.sum() < mask.numel()  # one sentence is shorter
    first = torch.tensor([7, 9, 11])
    whole = torch.cat([first.expand(2, -1), ids], dim=1)
    expected = text(input_ids=whole, attention_mask=torch.cat([torch.ones(2, 3), mask.float()], 1))
    context = text.embeddings.token_embedding(first) * text.embeddings.embed_scale
    found = tips.encode_text(["nut broken", "nut"], context=context)
    torch.testing.assert_close(found, expected.pooler_output, atol=1e-5, rtol=0)


def test_tipsv2_cuts_behind_learned_words_and_gives_them_gradients(tips):
    context = torch.zeros(5, tips.info.text_width, requires_grad=True)
    whole, long = (" ".join(["nut"] * count) for count in (LIMIT - 6, LIMIT))
    found = tips.encode_text([whole, long], context=context)
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    found.square().sum().backward()
    assert context.grad.abs().min() > 0
    with pytest.raises(HeadError, match="does not accept them"):
        tips.encode_text(["nut"], deep={1: torch.zeros(1, tips.info.text_width)})


def test_the_temperature_of_tipsv2_is_that_of_its_config(tips):
    assert tips.info.temperature == pytest.approx(0.005066, abs=1e-6)
