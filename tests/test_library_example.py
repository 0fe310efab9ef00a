"""The library example of the README runs as it is written, with fewer steps."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SHORTER = {"n=5": "n=1", "4_000": "30", "n_eval_episodes=10": "n_eval_episodes=1"}


def test_library_example_learns_from_demonstrations_and_with_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"\*\*As a library\.\*\*\n\n```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 25
    for written, shorter in SHORTER.items():
        assert written in code
        code = code.replace(written, shorter)
    monkeypatch.chdir(tmp_path)
    left: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), left)  # what a reader would run
    assert left["model"].num_timesteps == 30 and len(left["model"].demo) > 0
    assert "(" in capsys.readouterr().out
