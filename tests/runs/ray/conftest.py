"""Ray's engine without Ray's processes, which take seconds to start."""

import pickle

import pytest


class Here:
    """What the engine calls of Ray Data; one worker, in this process."""

    def __init__(self, blocks):
        self.blocks = blocks

    def map_batches(self, worker, fn_constructor_args, **options):
        self.worker = worker(*fn_constructor_args)
        return self

    def iter_rows(self):
        self.worker(self.blocks[0])  # as after a worker whose answer was lost
        for block in self.blocks:
            yield from self.worker(block).to_pylist()


@pytest.fixture
def in_process(monkeypatch):
    pytest.importorskip("ray.data")
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr("ray.put", pickle.dumps)
    monkeypatch.setattr("ray.get", pickle.loads)
    monkeypatch.setattr("ray.data.from_arrow", Here)
