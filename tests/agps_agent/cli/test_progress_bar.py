import errno
import io
from dataclasses import replace

import pytest

from agps_agent.cli.progress_bar import ProgressDisplay, status_line, time_left
from agps_agent.run.diagnosis import Figures
from agps_agent.run.progress import Progress

SNAPSHOT = Progress(
    env_steps=500,
    max_env_steps=1000,
    learner_steps=200,
    episodes=12,
    success_rate=0.25,
    float_index=0.31,
    float_threshold=0.28,
    triggers=7,
    agent_calls=9,
    memory_hits=3,
    elapsed_s=50.0,
)


def test_line_says_everything_that_the_bar_shows() -> None:
    line = status_line(SNAPSHOT, max_s=300.0)
    for words in ("500/1000 steps", "success 25%", "λ 0.310 > 0.280", "triggers 7", "agent calls 9", "memory hits 3"):
        assert words in line
    assert "updates 200" in line and "10 steps/s" in line and "0:50 left" in line


def test_time_left_is_the_shorter_of_both_budgets() -> None:
    assert time_left(SNAPSHOT, max_s=60.0) == "0:10"
    assert time_left(SNAPSHOT, max_s=3600.0) == "0:50"


def test_stage_1_is_counted_in_its_updates() -> None:
    snapshot = replace(SNAPSHOT, phase="pretrain", pretrain_steps=1000, max_pretrain_steps=4000)
    line = status_line(snapshot, max_s=600.0)
    assert "pre-training: 1000/4000 updates" in line and "20 updates/s" in line and "2:30 left" in line


def test_human_is_mentioned_where_there_is_one() -> None:
    assert "human" not in status_line(SNAPSHOT, max_s=60.0)
    line = status_line(replace(SNAPSHOT, human_interventions=4, human_s=12.6), max_s=60.0)
    assert "human 4 times, 13 s" in line


def test_run_without_a_detector_shows_no_index() -> None:
    assert "λ -" in status_line(replace(SNAPSHOT, float_index=None, float_threshold=None), max_s=60.0)


def test_pipe_gets_a_line_per_phase_and_not_one_per_step() -> None:
    stream = io.StringIO()
    with ProgressDisplay(max_minutes=5, stream=stream) as display:
        for step in range(100):
            display.update(replace(SNAPSHOT, env_steps=step))
        display.update(replace(SNAPSHOT, phase="evaluate"))
    assert [line.split("]")[1].split(":")[0].strip() for line in stream.getvalue().splitlines()] == [
        "training",
        "evaluating",
    ]


def test_line_shows_what_was_measured_beside_what_is_expected() -> None:
    figures = Figures(env_steps=500, max_env_steps=1000, policy_success=0.25, expected=0.75, reward_rate=0.4)
    line = status_line(replace(SNAPSHOT, figures=figures), max_s=60.0)
    assert "policy alone 25%, expected 75%, rewarded 40%, 0:10 left" in line and "Q " not in line
    learned = replace(figures, q_mean=0.5, q_min=-0.25, q_max=1.0, goal_error_mm=3.14, help_share=0.1)
    line = status_line(replace(SNAPSHOT, figures=learned), max_s=60.0)
    assert "guided 10%, Q 0.50 (-0.25 to 1.00), goal error 3.1 mm" in line


def test_what_is_wrong_is_said_once_until_something_else_is() -> None:
    stream = io.StringIO()
    said = ["Help fails: 8 times.", "Help fails: 9 times.", None, "Help fails: 11 times.", "Camera a sees nothing: 1."]
    with ProgressDisplay(max_minutes=5, stream=stream, line_every_s=0.0) as display:
        for sentence in said:
            display.update(replace(SNAPSHOT, diagnosis=sentence))
    lines = [line for line in stream.getvalue().splitlines() if not line.startswith("[")]
    assert lines == ["Help fails: 8 times.", "Help fails: 11 times.", "Camera a sees nothing: 1."]


def test_last_snapshot_is_shown_on_the_way_out() -> None:
    stream = io.StringIO()
    with ProgressDisplay(max_minutes=5, stream=stream) as display:
        display.update(SNAPSHOT)
        display.update(replace(SNAPSHOT, env_steps=1000))
    assert "1000/1000 steps" in stream.getvalue().splitlines()[-1]


def test_terminal_gets_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ProgressDisplay(max_minutes=5, stream=stream) as display:
        display.update(replace(SNAPSHOT, diagnosis="Help never succeeds: look first."))
    assert "500/1,000 steps" in stream.getvalue() and "success 25%" in stream.getvalue()
    assert "Help never succeeds: look first." in stream.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_terminal_without_greek_letters_shows_the_rest(encoding: str) -> None:
    shown = io.BytesIO()
    with ProgressDisplay(
        max_minutes=5, stream=io.TextIOWrapper(shown, encoding=encoding, write_through=True)
    ) as display:
        display.update(SNAPSHOT)
    sign = "λ" if encoding == "utf-8" else "?"
    assert f"{sign} 0.310 > 0.280, triggers 7" in shown.getvalue().decode(encoding)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.EIO, "Input/output error"), ValueError("closed")])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_display_that_nobody_sees_any_more_ends_nothing(error: Exception, is_terminal: bool) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

        def write(self, text: str) -> int:
            raise error

        def flush(self) -> None:
            raise error

    with ProgressDisplay(max_minutes=5, stream=Gone()) as display:
        display.update(SNAPSHOT)
        display.update(replace(SNAPSHOT, phase="evaluate"))
