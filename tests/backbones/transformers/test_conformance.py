"""Every type of model that transformers has and vlad loads, against every guarantee."""

import pytest
from case import Case
from conformance import CHECKS
from tiny_models import TINY

from vlad.backbones import load_backbone
from vlad.backbones.transformers import describe
from vlad.backbones.transformers.kinds import KINDS


@pytest.fixture(scope="module", params=TINY)
def case(request, tmp_path_factory):
    tiny = TINY[request.param]()
    folder = str(tiny.save(tmp_path_factory.mktemp(request.param)))
    return Case(
        load_backbone(folder, device="cpu"),
        tiny.hidden,
        tiny.embedding,
        tiny.text if tiny.pad else None,
        tiny.sizes,
        describe(folder),
    )


@pytest.mark.parametrize("guarantee", CHECKS)
def test_guarantee(case, guarantee):
    CHECKS[guarantee](case)


def test_every_kind_has_a_small_model():
    assert KINDS.keys() <= TINY.keys()
