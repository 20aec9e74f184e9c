"""What is asked of Ray: how many cores, and how many images at once."""

import pyarrow as pa
import pytest

from vlad.runs.ray import engine


class Asked:
    """What the engine asks of Ray Data, which scores nothing.

    Attributes:
        options: of `map_batches`.
    """

    def __init__(self, monkeypatch):
        monkeypatch.setattr("ray.data.from_arrow", self.take)

    def take(self, blocks):
        self.blocks = blocks
        return self

    def map_batches(self, worker, **options):
        self.options = options
        return self

    def iter_rows(self):
        return iter(())


def test_a_stop_costs_4096_images_at_most(in_process, monkeypatch):
    asked = Asked(monkeypatch)
    waiting = pa.table({"path": [str(i) for i in range(20_000)]})
    assert list(engine._run(None, "", waiting, 1, False)) == []
    assert [len(block) for block in asked.blocks] == [4096] * 4 + [3616]
    assert pa.concat_tables(asked.blocks) == waiting


@pytest.mark.parametrize(
    ("cores", "workers", "each"),
    [([4], 4, 1), ([4], 1, 4), ([0, 8, 8], 2, 8), ([8, 8], 1, 8), ([6, 6], 5, 2), ([2], 3, 1)],
)
def test_a_worker_asks_for_no_more_cores_than_a_node_has(
    in_process, monkeypatch, cores, workers, each
):
    nodes = [{"Alive": True, "Resources": {"CPU": float(n)} if n else {}} for n in cores]
    gone = {"Alive": False, "Resources": {"CPU": 99.0}}
    monkeypatch.setattr("ray.nodes", lambda: [*nodes, gone])
    asked = Asked(monkeypatch)
    list(engine._run(None, "", pa.table({"path": ["a"]}), workers, False))
    assert asked.options["num_cpus"] == each and asked.options["num_gpus"] is None
