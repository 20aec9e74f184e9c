import hashlib

import numpy as np
import pytest
import torch

from vlad.prompts.question import read_question
from vlad.scoring import textcache
from vlad.scoring.unrelated import COUNT, spread_of, unrelated

SIDE = 64


class Words:
    """Embeds a sentence as the sum of a vector for each word, "scratches" along the first axis."""

    fingerprint = "w" * 64

    def encode_text(self, sentences, activation=None):
        return torch.stack([sum(map(self.vector, s.strip(".").split())) for s in sentences])

    @staticmethod
    def vector(word):
        if word == "scratches":
            return torch.eye(SIDE)[0] * 8
        seed = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)
        return torch.randn(SIDE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def own_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(textcache, "_memory", {})


def images(scratched):
    found = np.random.default_rng(0).normal(size=(40, SIDE)).astype(np.float32)
    found[:20, 0] += scratched
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_images_that_differ_in_what_is_asked():
    spread = spread_of(Words(), read_question("any scratches?"), images(20))
    assert (spread.words, spread.differs) == (COUNT, True)
    assert spread.exceeded >= 95
    assert abs(spread.correlation) < 0.5


def test_images_that_differ_in_something_else():
    found = images(20)[:, ::-1].copy()
    spread = spread_of(Words(), read_question("any scratches?"), found)
    assert not spread.differs


def test_a_text_encoder_that_reads_no_words_orders_alike():
    class Deaf(Words):
        fingerprint = "d" * 64

        @staticmethod
        def vector(word):
            return Words.vector(word if word in ("with", "without") else "a")

    spread = spread_of(Deaf(), read_question("any scratches?"), images(20))
    assert spread.alike and not spread.differs


def test_an_unrelated_question_is_one_of_the_unrelated():
    # about one word in twenty may pass by chance
    passed = [spread_of(Words(), read_question(word), images(0)).differs for word in _asked()]
    assert sum(passed) <= 5


def _asked():
    return [f"any {word}?" for word in unrelated(read_question("any scratches?"))[::4]]


def test_words_of_the_question_are_not_unrelated():
    words = unrelated(read_question("any scratches?"))
    assert len(set(words)) == COUNT
    asked = read_question(f"any {words[3]}?", words[7])
    assert not {words[3], words[7]} & set(unrelated(asked))
