"""The text encoder's own forward pass: the library's numbers, and learned tokens."""

import open_clip
import pytest
import torch

from vlad.backbones.open_clip import as_backbone
from vlad.backbones.text import share
from vlad.errors import HeadError

SENTENCES = [
    "a photo of a nut.",
    "nut",
    "a close-up photo of the scratched metal nut in the scene.",
]


@pytest.fixture(scope="module")
def backbone(small_clip):
    half = (0.5, 0.5, 0.5)
    return as_backbone("small", small_clip, open_clip.get_tokenizer("ViT-B-32"), half, half)


def test_plain_text_equals_open_clip(backbone, small_clip):
    tokens = open_clip.get_tokenizer("ViT-B-32")(SENTENCES)
    with torch.no_grad():
        expected = small_clip.encode_text(tokens)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, atol=1e-5, rtol=0)


def test_the_length_of_the_others_does_not_matter(backbone):
    alone = torch.cat([backbone.encode_text([sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(backbone.encode_text(SENTENCES), alone, atol=1e-5, rtol=0)


def test_what_sentences_begin_with_in_common_is_computed_once():
    ids = torch.tensor([[9, 1, 2, 8, 0], [9, 1, 8, 0, 0], [9, 1, 2, 3, 8], [9, 2, 2, 8, 0]])
    tokens, places, seen, ends = share(ids, torch.tensor([3, 2, 4, 3]))
    assert len(tokens) == 10
    for row, last, end in zip(ids, (3, 2, 4, 3), ends, strict=True):
        line = seen[end].nonzero()[:, 0]
        assert tokens[line].tolist() == row[: last + 1].tolist()
        assert places[line].tolist() == list(range(last + 1))


def test_another_activation(backbone, small_config):
    torch.manual_seed(0)
    quick = open_clip.CLIP(**small_config, quick_gelu=True).eval()
    quick.load_state_dict(backbone.model.state_dict())
    with torch.no_grad():
        expected = quick.encode_text(open_clip.get_tokenizer("ViT-B-32")(SENTENCES))
    found = backbone.encode_text(SENTENCES, activation="quick_gelu")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found - backbone.encode_text(SENTENCES)).abs().max() > 1e-3


def slow(model, ids, context, deep):
    """The whole context of 77 tokens through the library's blocks, learned tokens written in."""
    with torch.no_grad():
        x = model.token_embedding(ids)
        x[:, 1 : 1 + len(context)] = context
        x = x + model.positional_embedding
        for number, block in enumerate(model.transformer.resblocks, start=1):
            if number in deep:
                x[:, 1 : 1 + len(deep[number])] = deep[number]
            x = block(x, attn_mask=model.attn_mask)
        x = model.ln_final(x)
        return x[torch.arange(len(x)), ids.argmax(dim=-1)] @ model.text_projection


def test_learned_tokens_equal_a_plain_version(backbone, small_clip):
    torch.manual_seed(1)
    context, deep = torch.randn(5, 64), {2: torch.randn(3, 64)}
    ids = open_clip.get_tokenizer("ViT-B-32")(["X X X X X " + sentence for sentence in SENTENCES])
    found = backbone.encode_text(SENTENCES, context=context, deep=deep)
    torch.testing.assert_close(found, slow(small_clip, ids, context, deep), atol=1e-5, rtol=0)
    for other in (
        backbone.encode_text(SENTENCES, context=context),
        backbone.encode_text(SENTENCES),
    ):
        assert (found - other).abs().max() > 1e-3


def test_each_image_may_have_words_of_its_own(backbone):
    torch.manual_seed(0)
    context = torch.randn(3, 5, 64)
    found = backbone.encode_text(SENTENCES, context=context)
    alone = [backbone.encode_text(SENTENCES, context=words) for words in context]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-5, rtol=0)


def test_prompts_longer_than_the_sentence(backbone, small_clip):
    torch.manual_seed(1)
    deep = {1: torch.randn(6, 64), 2: torch.randn(6, 64)}
    ids = open_clip.get_tokenizer("ViT-B-32")(["nut"])
    found = backbone.encode_text(["nut"], deep=deep)
    expected = slow(small_clip, ids, torch.zeros(0, 64), deep)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_backbone_with_another_text_model_takes_no_tokens(backbone):
    from dataclasses import replace

    from vlad.backbones.text import PlainText

    plain = replace(backbone, read=lambda model: PlainText(lambda s: torch.ones(len(s), 8)))
    assert plain.encode_text(SENTENCES).shape == (3, 8)
    with pytest.raises(HeadError, match="learned tokens"):
        plain.encode_text(SENTENCES, context=torch.zeros(2, 64))
