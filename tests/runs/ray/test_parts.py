import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlad.errors import OutputError
from vlad.runs.ray.parts import parts, write_part, writing

ONE = pa.table({"path": ["a.png"]})


def test_a_partition_is_there_as_a_whole_and_nothing_else_is_left(tmp_path):
    with writing(tmp_path) as folder:
        write_part(folder, "part-1.parquet", ONE)
        write_part(folder, "part-1.parquet", ONE)
        (folder / "part-2.parquet").write_bytes(b"PAR1 half of")
        assert parts(tmp_path) == [tmp_path / "part-1.parquet"]
    assert list(tmp_path.iterdir()) == [tmp_path / "part-1.parquet"]
    assert pq.read_table(tmp_path / "part-1.parquet") == ONE


def test_a_worker_that_outlives_its_command_writes_nothing(tmp_path):
    killed = writing(tmp_path)
    earlier = killed.__enter__()
    with writing(tmp_path) as folder:
        with pytest.raises(OutputError, match=r"part-1\.parquet"):
            write_part(earlier, "part-1.parquet", ONE)
        write_part(folder, "part-2.parquet", ONE)
    assert parts(tmp_path) == [tmp_path / "part-2.parquet"]


def test_nor_does_one_that_is_about_to_put_its_partition_in_place(tmp_path, monkeypatch):
    killed = writing(tmp_path)
    earlier = killed.__enter__()
    whole = pq.write_table

    def slowly(table, file):
        whole(table, file)
        with writing(tmp_path):  # here the next command begins, and lists what there is
            assert parts(tmp_path) == []

    monkeypatch.setattr("vlad.runs.ray.parts.pq.write_table", slowly)
    with pytest.raises(OutputError):
        write_part(earlier, "part-1.parquet", ONE)
    assert parts(tmp_path) == []
