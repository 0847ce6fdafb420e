"""The table that a sweep ends with."""

from da.sweep.endings import Ending, table

SHARED = "data=toy figures=none"


def test_each_job_has_a_line_with_its_own_options_and_those_that_failed_stand_last():
    endings = [
        Ending(0, f"method=mmd {SHARED} seed=0", "failed", "no memory"),
        Ending(1, f"method=mmd {SHARED} seed=1", "done"),
        Ending(2, f"method=dann {SHARED} seed=0", "skipped", "it is there"),
        Ending(3, f"method=dann {SHARED} seed=1", "pruned"),
    ]
    lines = [" ".join(line.split()) for line in table(endings).splitlines()]
    assert lines[1:6] == [
        "1 done method=mmd seed=1",
        "2 skipped method=dann seed=0 it is there",
        "3 pruned method=dann seed=1",
        "0 failed method=mmd seed=0 no memory",
        "4 jobs: 1 done, 1 skipped, 1 pruned, 1 failed",
    ]
    assert len(lines) == 6


def test_a_job_alone_is_named_by_all_its_options():
    lines = table([Ending(0, "seed=0 data=toy", "done")]).splitlines()
    assert lines[1:] == ["    0  done     seed=0 data=toy", "1 jobs: 1 done, 0 skipped, 0 failed"]
