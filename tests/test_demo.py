"""vlad demo as a user meets it: offline, from any folder, ending with a table and a report."""

import csv
import subprocess
import sys


def test_demo(tmp_path, run_env):
    done = subprocess.run(
        [sys.executable, "-m", "vlad", "demo"],
        env={**run_env, "OMP_NUM_THREADS": "2"}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["category", "head"]
    rows = [line.split()[:2] for line in lines[1:6]]
    assert rows == [
        ["hazelnut", "winclip"],
        ["hazelnut", "memory"],
        ["hazelnut", "statistics"],
        ["cookie", "memory"],
        ["cookie", "statistics"],
    ]
    # the mean of one category would look like that of two
    means = [line.split()[1] for line in lines if line.startswith("mean ")]
    assert means == ["memory", "statistics"]
    assert sum(line.startswith("statistics is the null baseline") for line in lines) == 1
    assert sum(line.startswith("memory: 17 of 23 anomalous") for line in lines) == 1
    assert lines[-1].endswith("report.html")
    assert (tmp_path / "vlad-demo" / "cookie" / "report.html").stat().st_size > 100_000
    out = tmp_path / "vlad-demo" / "hazelnut"
    assert (out / "report.html").stat().st_size > 100_000
    with open(out / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 23
    assert not [row for row in rows if row["error"]]
    for row in rows:
        assert (row["memory_verdict"] == "normal") == ("good" in row["path"])


def test_the_demo_replaces_no_run_of_the_user(tmp_path, run_env):
    (tmp_path / "cookie").mkdir()
    (tmp_path / "cookie" / "run.json").write_text('{"kind": "vlad run", "category": "bolt"}')
    done = subprocess.run(
        [sys.executable, "-m", "vlad", "demo", "--out", "."],
        env=run_env, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "already holds a vlad run" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["cookie", "run.json"]
