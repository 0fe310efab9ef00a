"""`agps traces`, `agps view`, `agps serve-model`: what they say and refuse without a browser or a viewer."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.view import has_display
from agps_agent.run.directory import RunDirectory
from agps_agent.tracing.store import TraceStore
from agps_agent.tracing.wire import Update


def refused(argv: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this machine on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", [["traces", "serve"], ["serve-model"]])
@pytest.mark.parametrize(("port", "limit"), [("-1", "at least 0"), ("65536", "at most 65535")])
def test_port_that_no_computer_has_is_refused(
    command: list[str],
    port: str,
    limit: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"--port is {port}; ask for {limit}." in refused([*command, "--port", port], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["traces", "serve"], ["serve-model"]])
def test_port_that_is_taken_is_told(
    command: list[str],
    taken: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused([*command, "--port", str(taken)], capsys, code=1)
    assert f"Cannot listen on 127.0.0.1:{taken}" in said and "name another --port or --host" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--fail-share", "1.5"], "--fail-share is 1.5; ask for at most 1."),
        (["--fail-share", "nan"], "--fail-share is nan"),
        (["--faults"], "--faults"),
        (["--faults", "hiccup"], "--faults"),
        (["--task", "knitting"], "There is no task 'knitting'"),
    ],
)
def test_faults_that_cannot_be_served_are_refused(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(["serve-model", *argv], capsys)


def question(store: TraceStore, number: int) -> None:
    fields = {"name": f"ask {number}", "run_type": "chain", "start_time": f"2025-01-0{number}T00:00:00+00:00"}
    store.apply([Update(kind="post", id=f"run-{number}", fields=fields)])


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    store = TraceStore(tmp_path / "traces")
    for number in (1, 2, 3):
        question(store, number)
    store.close()
    return tmp_path / "traces"


def test_newest_traces_are_written_as_one_page(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["traces", "report", "--dir", str(traces), "--newest", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"report": str(traces / "traces.html"), "traces": 2}
    page = (traces / "traces.html").read_text()
    assert "ask 3" in page and "ask 2" in page and "ask 1" not in page


def test_page_of_traces_goes_where_it_is_asked_for(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "mine.html"
    assert main(["traces", "report", "--dir", str(traces), "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}: 3 traces\n" and page.is_file()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--newest", "0"], "--newest is 0; ask for at least 1."),
        (["--dir", "nowhere"], "There are no traces in nowhere; collect some with `agps traces serve`."),
    ],
)
def test_report_without_traces_is_refused_and_leaves_nothing(
    argv: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(["traces", "report", *argv], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def recorded(tmp_path: Path) -> RunDirectory:
    """A run with a recording and what a resumed one added; begun with few bytes: nobody opens them."""
    run = RunDirectory.create(tmp_path / "run")
    run.config.write_text("{}")
    for name in ("recording.rrd", "recording-2.rrd", "recording-10.rrd"):
        (run.path / name).write_bytes(b"RRF2")
    return run


def test_run_without_a_recording_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.config.write_text("{}")
    assert "has no recording.rrd; train with --record-every 10." in refused(["view", str(run.path)], capsys)


def test_without_a_display_the_commands_for_another_place_are_told(
    recorded: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["view", str(recorded.path)]) == 0
    said = capsys.readouterr().out
    files = [f"{recorded.path}/{name}.rrd" for name in ("recording", "recording-2", "recording-10")]
    assert f"  rerun {' '.join(files)}\n" in said and f"  agps view {recorded.path} --web\n" in said


@pytest.mark.parametrize(
    ("settings", "shown"), [({}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "wayland-0"}, True)]
)
def test_display_is_told_by_the_environment(
    settings: dict[str, str], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert has_display() is shown


def test_damaged_recording_is_named(recorded: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(recorded.path), "--check"]) == 1
    err = capsys.readouterr().err
    assert "recording.rrd is damaged" in err and err.count("\n") == 1
