import json
from pathlib import Path

import numpy as np
import pytest

from agps_agent.run.directory import RunDirectory, alone_in
from rl.errors import AgpsError, ConfigError
from rl.files import write_atomically


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def test_new_run_has_its_folders(run: RunDirectory) -> None:
    assert run.checkpoints.is_dir() and run.interventions.is_dir() and run.memory.is_dir()


def test_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert RunDirectory.create(tmp_path / "run").checkpoints.is_dir()


def test_existing_run_is_refused_and_says_how_to_resume(run: RunDirectory) -> None:
    save_something(run)
    with pytest.raises(ConfigError, match=r"already exists.*--resume"):
        RunDirectory.create(run.path)


def save_something(run: RunDirectory) -> None:
    (run.checkpoints / "last").mkdir()
    (run.checkpoints / "last" / "manifest.json").write_text("{}")


def test_run_that_died_before_it_made_anything_is_begun_anew(run: RunDirectory) -> None:
    run.config.write_text("{}")
    (run.path / "owner.lock").write_text("4711\n")
    (run.path / ".config.json.4711").touch()  # killed while it was written
    assert "start it again without --resume" in run.nothing_to_resume
    assert RunDirectory.create(run.path) == run


def test_fleet_that_died_before_it_made_anything_is_begun_anew_but_never_over_an_episode(run: RunDirectory) -> None:
    spool = run.path / "fleet" / "r0" / "spool"
    spool.mkdir(parents=True)
    (run.path / "fleet" / "identity").write_text("run-1\n")
    assert RunDirectory.create(run.path) == run
    (spool / "r0__a__00000000.npz").write_bytes(b"an episode that no learner has yet")
    with pytest.raises(ConfigError):
        RunDirectory.create(run.path)


def test_run_that_died_before_its_first_checkpoint_says_what_to_do_in_one_way(run: RunDirectory) -> None:
    run.config.write_text("{}")
    run.append_metrics({"episode": 0})
    run.demos.mkdir()
    with pytest.raises(
        ConfigError, match=r"delete it to begin anew, or name another --run-dir.*--demos-dir"
    ) as refused:
        RunDirectory.create(run.path)
    assert str(refused.value) == run.nothing_to_resume
    assert run.metrics.is_file()


def test_strangers_file_beside_an_empty_run_is_no_beginning(run: RunDirectory) -> None:
    (run.path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="already exists and is not empty; name another"):
        RunDirectory.create(run.path)


def test_two_trainings_cannot_share_a_directory(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"):
        RunDirectory.create(tmp_path / "run")
        with pytest.raises(ConfigError, match=r"run is in use by process \d+; wait for it to end, or name another"):
            with alone_in(tmp_path / "run"):
                pytest.fail("both are in")
    with alone_in(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / "owner.lock").exists()


def test_directory_in_which_nothing_was_made_is_gone_afterwards(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_run_at_its_beginning_is_not_cleared_under_its_owner(run: RunDirectory) -> None:
    with alone_in(run.path):
        run.clear()
    assert run.checkpoints.is_dir()


def test_other_full_folder_is_refused_without_talk_of_resuming(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"already exists and is not empty; name another --run-dir"):
        RunDirectory.create(tmp_path)


def test_file_in_place_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match="is a file; name another --run-dir"):
        RunDirectory.create(tmp_path / "run")


def test_missing_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run directory .*agps train TASK --run-dir"):
        RunDirectory.open(tmp_path / "nothing")


def test_folder_without_configuration_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        RunDirectory.open(tmp_path)


def test_metrics_come_back_with_numpy_values_as_plain_ones(run: RunDirectory) -> None:
    run.append_metrics({"episode": np.int64(3), "float_trace": np.array([0.5, 1.0]), "success": np.bool_(True)})
    assert run.read_metrics() == [{"episode": 3, "float_trace": [0.5, 1.0], "success": True}]


def test_line_torn_by_a_crash_is_left_out_and_does_not_swallow_the_next(run: RunDirectory) -> None:
    run.append_metrics({"episode": 0})
    with run.metrics.open("a") as file:
        file.write('{"episode": 1, "succ')
    run.append_metrics({"episode": 2})
    assert [row["episode"] for row in run.read_metrics()] == [0, 2]


def test_lines_that_are_left_out_are_told_but_not_the_one_that_is_being_written(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    run.metrics.write_bytes(b'{"episode": 0}\n\xff\x00\n[3]\n{"episode": 1}\n{"epi')
    assert [row["episode"] for row in run.read_metrics()] == [0, 1]
    (said,) = caplog.messages
    assert said == f"{run.metrics}: lines that cannot be read are left out: 2, 3."


def test_first_line_that_is_being_written_is_none_yet(run: RunDirectory) -> None:
    run.metrics.write_text('{"epis')
    assert run.read_metrics() == []


def test_what_a_resumed_run_did_over_counts_once(run: RunDirectory) -> None:
    for row in ({"episode": 0, "env_steps": 44}, {"episode": 1, "env_steps": 84}, {"kind": "resume", "env_steps": 60}):
        run.append_metrics(row)
    run.append_metrics({"episode": 1, "env_steps": 97})
    assert [row["env_steps"] for row in run.read_metrics()] == [44, 97]


def test_stage_1_that_a_resumed_run_did_over_counts_once(run: RunDirectory) -> None:
    """Its rows count no control step, or those of the agent's demonstrations."""
    for updates in (100, 200, 300):
        run.append_metrics({"kind": "pretrain", "env_steps": 0, "updates": updates})
    run.append_metrics({"kind": "pretrain_eval", "env_steps": 40, "success_rate": 0.2})
    run.append_metrics({"kind": "resume", "env_steps": 40})
    for updates in (200, 300, 400):
        run.append_metrics({"kind": "pretrain", "env_steps": 0, "updates": updates})
    run.append_metrics({"kind": "pretrain_eval", "env_steps": 40, "success_rate": 0.4})
    for env_steps, rate in ((80, 0.5), (80, 0.6), (120, 0.7)):
        run.append_metrics({"kind": "final_eval", "env_steps": env_steps, "success_rate": rate})
    rows = run.read_metrics()
    assert [row["updates"] for row in rows if row["kind"] == "pretrain"] == [100, 200, 300, 400]
    assert [row["success_rate"] for row in rows if "success_rate" in row] == [0.4, 0.6, 0.7]


def test_questions_that_a_resumed_run_asks_anew_are_forgotten(run: RunDirectory) -> None:
    for name in ("0001", "0002", "0003", "notes"):
        run.intervention(name).mkdir()
    run.forget_questions(2)
    assert run.intervention_ids() == ["0001", "0002", "notes"]


def test_run_without_metrics_has_none(run: RunDirectory) -> None:
    assert run.read_metrics() == [] and run.read_summary() == {}


def test_summary_is_replaced_in_one_step(run: RunDirectory) -> None:
    run.write_summary({"success_rate": 0.5})
    run.write_summary({"success_rate": 1.0})
    assert run.read_summary() == {"success_rate": 1.0}
    assert sorted(entry.name for entry in run.path.iterdir() if entry.is_file()) == ["summary.json"]


def test_disk_that_is_full_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, run: RunDirectory) -> None:
    run.write_summary({"success_rate": 0.5})

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(AgpsError, match=r"summary\.json: No space left on device"):
        run.write_summary({"success_rate": 1.0})
    assert run.read_summary() == {"success_rate": 0.5}
    assert [entry.name for entry in run.path.iterdir() if entry.is_file()] == ["summary.json"]


def test_damaged_summary_is_named(run: RunDirectory) -> None:
    run.summary.write_text("{")
    with pytest.raises(AgpsError, match=r"summary\.json is not JSON"):
        run.read_summary()


def test_atomic_write_replaces_the_content(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", json.dumps([1]))
    write_atomically(tmp_path / "a.json", json.dumps([2]))
    assert json.loads((tmp_path / "a.json").read_text()) == [2]


def test_run_without_an_episode_can_be_discarded(run: RunDirectory) -> None:
    run.discard()
    assert not run.path.exists()


def test_run_with_an_episode_is_never_discarded(run: RunDirectory) -> None:
    run.append_metrics({"episode": 0})
    run.discard()
    assert run.metrics.is_file()


def test_run_that_died_before_its_first_checkpoint_can_be_cleared(run: RunDirectory) -> None:
    run.append_metrics({"episode": 0})
    run.config.write_text("{}")
    (run.path / ".demos.77.unfinished").mkdir()
    (run.checkpoints / ".last.new").mkdir()  # the first one was being written
    assert not run.has_checkpoint
    run.clear()
    assert not run.path.exists()


def test_run_with_a_checkpoint_or_a_strangers_file_is_not_cleared(run: RunDirectory, tmp_path: Path) -> None:
    save_something(run)
    run.clear()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    RunDirectory(tmp_path / "other").clear()
    assert run.has_checkpoint and (tmp_path / "other" / "thesis.tex").exists()
