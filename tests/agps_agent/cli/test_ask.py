import json
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.server import serve_model
from tests.agps_agent.scenes import scene
from tools.scene import save_scene

FILE = '''from tools.spec import Args, ToolSpec
class PeekArgs(Args):
    """Tell what lies there."""
PEEK = ToolSpec(name="peek", args=PeekArgs, function=lambda *_: "Nothing.", gives="text")
'''


def test_tool_of_a_file_is_offered_by_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    save_scene(scene(), tmp_path / "scene")
    where = ["--scene", str(tmp_path / "scene"), "--out", str(tmp_path / "out"), "--mode", "guide", "--json"]
    assert main(["ask", "usb_insertion", *where, "--agent.tools", "measure", f"{tmp_path}/mine.py:PEEK"]) == 0
    assert json.loads(capsys.readouterr().out)["tool_answers"] == []  # the embedded model has no use for either
    asked = (tmp_path / "out" / "prompt.md").read_text()
    assert "- peek: Tell what lies there." in asked and "- measure: " in asked


URL = "https://api.openai.com/v1"


def test_estimate_multiplies_tokens_and_their_price_and_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    price = ["--vlm-price-in", "2", "--vlm-price-out", "10"]
    assert main(["ask", "usb_insertion", "--estimate", "--vlm", "http://127.0.0.1:9/v1", *price, "--json"]) == 0
    estimated = json.loads(capsys.readouterr().out)
    one, most = estimated["question"], estimated["run_at_most"]
    assert one["usd"] == pytest.approx((2 * one["prompt_tokens"] + 10 * one["completion_tokens"]) / 1e6)
    assert most["usd"] == pytest.approx((2 * most["prompt_tokens"] + 10 * most["completion_tokens"]) / 1e6)
    assert (estimated["run_at_least"]["calls"], most["calls"], most["prompt_tokens"]) == (2, 110, 110 * 1_440)
    assert estimated["first"].startswith("agps bench grounding usb_insertion --vlm http://127.0.0.1:9/v1")


def test_estimate_says_whose_price_it_is_or_that_none_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "usb_insertion", "--estimate", "--vlm", URL, "--vlm-model", "gpt-5-mini"]) == 0
    assert "$" in (known := capsys.readouterr().out) and "developers.openai.com" in known
    assert main(["ask", "usb_insertion", "--estimate", "--vlm", URL]) == 0
    assert "$" not in (unknown := capsys.readouterr().out) and "name the model with --vlm-model" in unknown


def test_estimate_of_a_model_that_costs_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "usb_insertion", "--estimate"]) == 2
    assert "embedded costs nothing; give --vlm URL" in capsys.readouterr().err


def test_training_says_first_what_a_served_model_will_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--demos", "0", "--agent-demos", "0", "--max-env-steps", "2", "--eval-every", "0", "--eval-episodes", "1"]
    where = ["--run-dir", str(tmp_path / "run"), "--record-every", "0"]
    with serve_model(EmbeddedVLM()) as server:
        assert main(["train", "usb_insertion", "--vlm", server.url, *short, *where]) == 0
        server.shutdown()
    said = capsys.readouterr().out
    assert "3 calls, 4,270 tokens of prompts" in said
    assert f"agps bench grounding usb_insertion --vlm {server.url}" in said


@pytest.mark.parametrize("command", ["ask", "train"])
def test_unknown_tool_is_refused_before_anything_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, "usb_insertion", "--agent.tools", "nope"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "Unknown tool 'nope'; known: descend, exploration_bbox" in err
    assert not (tmp_path / "runs" / "ask").exists()
