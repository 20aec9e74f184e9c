"""Events found again from the rows and notes of an earlier command."""

from vlad.results.eventrules import EventRules
from vlad.results.folder import RunFolder
from vlad.results.framenotes import FrameNote, append_notes
from vlad.results.rows import Row, State
from vlad.runs.eventwatch import EventWatch


def test_a_note_without_regions_leaves_the_event_without_one(tmp_path):
    folder = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {"root": "/"}).create()
    path, second = str(tmp_path / "run/frames/a/000000.png"), 1_800_000_000 * 10**9
    folder.append([Row(path, {"memory": 0.9}, None, State(0, 0, second))])
    # a map value that is above the threshold in 64 bits and equal to it in 32 has no region
    append_notes(folder.out, [FrameNote(path, {"memory": 0.3}, {"memory": []})])
    rules = EventRules({"memory": 0.5}, {"memory": 0.5})
    told = []
    watch = EventWatch(
        folder, "a", rules, 2.0, regions={"memory": 0.3}, batch=1, post=told.extend, on_event=print
    )
    (event,) = watch.going
    assert event.region is None and [one["region"] for one in told] == [None]
