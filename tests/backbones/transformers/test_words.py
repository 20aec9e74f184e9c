"""What text encoders of transformers read of a long sentence."""

import pytest
import torch
from tiny_models import TEXT, TINY

from vlad.backbones import load_backbone
from vlad.backbones.transformers.kinds import KINDS

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
