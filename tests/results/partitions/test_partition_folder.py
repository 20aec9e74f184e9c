import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlad.errors import OutputError
from vlad.results.partitions.folder import Folder

ONE = pa.table({"path": ["a.png"]})
NAME = "scores/date=2026-11-29/part-1.parquet"
OTHER = "scores/date=2026-11-30/part-2.parquet"


def files(out):
    return {path for path in out.rglob("*") if path.is_file()}


def test_a_partition_is_there_as_a_whole_and_nothing_else_is_left(tmp_path):
    out = Folder(tmp_path)
    with out.writing() as folder:
        out.write(folder, NAME, ONE)
        out.write(folder, NAME, ONE)
        (tmp_path / folder / "part-2.parquet").write_bytes(b"PAR1 half of")
        assert out.parts() == [NAME]
    assert files(tmp_path) == {tmp_path / NAME}
    with out.open(NAME) as file:
        assert pq.read_table(file) == ONE


def test_a_worker_that_outlives_its_command_writes_nothing(tmp_path):
    out = Folder(tmp_path)
    killed = out.writing()
    earlier = killed.__enter__()
    with out.writing() as folder:
        with pytest.raises(OutputError, match=r"part-1\.parquet"):
            out.write(earlier, NAME, ONE)
        out.write(folder, OTHER, ONE)
    assert out.parts() == [OTHER]


def test_nor_does_one_that_is_about_to_put_its_partition_in_place(tmp_path, monkeypatch):
    out = Folder(tmp_path)
    killed = out.writing()
    earlier = killed.__enter__()
    whole = pq.write_table

    def slowly(table, file):
        whole(table, file)
        with out.writing():  # here the next command begins, and lists what there is
            assert out.parts() == []

    monkeypatch.setattr("vlad.results.partitions.folder.pq.write_table", slowly)
    with pytest.raises(OutputError):
        out.write(earlier, NAME, ONE)
    assert out.parts() == []
