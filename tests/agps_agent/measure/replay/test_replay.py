"""Recorded questions asked again: the offline form of a LangSmith evaluation."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from langchain_core.messages import AIMessage

from agps_agent.ask import save_answer
from agps_agent.cli.main import main
from agps_agent.measure.replay.experiments import run_experiment
from agps_agent.measure.replay.replay import Query, Variant, build_variant, load_queries, replay, summarise
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.settings import AgentSettings
from agps_agent.tracing.truth import save_truth
from rl.errors import ConfigError
from tests.agps_agent import scenes

TRUTH = {"port_left": scenes.LEFT, "port_right": scenes.RIGHT, "plug_tip": np.array([0.5, 0.0, 0.1])}


@pytest.fixture(scope="module")
def embedded() -> Variant:
    return build_variant("newest", task="usb_insertion", vlm="embedded", vlm_model=None, settings=AgentSettings())


@pytest.fixture
def recorded(tmp_path: Path, embedded: Variant) -> Path:
    """A folder of four questions: two boxes, two ways, one of them about a scene without a port."""
    import asyncio

    from agps_agent.ask import ask

    for number in range(4):
        scene = scenes.scene(with_port=number != 3)
        mode = "prune" if number % 2 == 0 else "guide"
        answer = asyncio.run(ask(embedded.graph, embedded.context(scene), mode=mode))
        folder = tmp_path / "run" / "interventions" / f"{number:04d}"
        save_answer(folder, answer, scene)
        save_truth(folder, TRUTH)
    return tmp_path / "run"


def test_answers_are_measured_against_the_truth(recorded: Path, embedded: Variant) -> None:
    scores = replay(load_queries(recorded), embedded)
    assert [s.answered for s in scores] == [True, True, True, False]
    assert scores[3].reason == "not_visible"
    assert all(s.keypoint_px < 1.0 and s.keypoint_mm < 1.0 for s in scores[:3])
    assert [s.box_has_goal for s in scores] == [True, None, True, None]
    assert 0.9 < scores[0].pruned < 1.0


def test_wrong_truth_shows_as_error_and_lost_goal(recorded: Path, embedded: Variant) -> None:
    moved = {name: point + [0.05, 0.0, 0.0] for name, point in TRUTH.items()}
    queries = [replace(query, truth=moved) for query in load_queries(recorded)[:1]]
    (score,) = replay(queries, embedded)
    assert score.keypoint_mm == pytest.approx(50.0, abs=1.0)
    assert score.keypoint_px > 20.0
    assert score.box_has_goal is False


def test_real_robot_without_truth_is_scored_by_what_is_known(recorded: Path, embedded: Variant) -> None:
    for path in recorded.glob("interventions/*/truth.json"):
        path.unlink()
    summary = summarise(replay(load_queries(recorded), embedded))
    assert summary["keypoint_px"] is summary["box_has_goal"] is None
    assert summary["answered"] == 0.75
    assert summary["declined"] == {"not_visible": 1}


def test_plans_that_tools_refuse_are_counted(recorded: Path, embedded: Variant) -> None:
    queries: list[Query] = load_queries(recorded)[1:2]
    refused = {"calls": [{"name": "fly", "arguments": {}}], "reason": "Up."}
    variant = replace(embedded, context=with_plan(embedded, refused))
    (score,) = replay(queries, variant)
    assert not score.answered
    assert (score.plans, score.valid_plans) == (2, 0)


def with_plan(variant: Variant, plan: dict) -> Callable:
    """The embedded model's perception with a plan that was recorded elsewhere."""

    def context(scene):
        usual = variant.context(scene)
        return replace(usual, model=PlanInstead(plan=json.dumps(plan)))

    return context


class PlanInstead(EmbeddedVLM):
    """Perceives like the embedded model and always plans the same."""

    plan: str

    def _reply(self, messages, request):
        result = super()._reply(messages, request)
        if request["response_format"]["json_schema"]["name"] == "PlanAnswer":
            result.generations[0].message = AIMessage(self.plan)
        return result


def test_experiment_runs_without_an_account(recorded: Path, embedded: Variant, collector) -> None:
    rows = run_experiment(load_queries(recorded)[:2], embedded, source="run", upload=False)
    assert [row["answered"] for row in rows] == [True, True]


def test_command_compares_two_versions(recorded: Path, capsys) -> None:
    code = main(["prompts", "replay", str(recorded), "--prompt", "perceive@v1", "action_guidance@v1", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed["summary"]["perceive@v1"]["queries"] == 4
    assert len(printed["scores"]["action_guidance@v1"]) == 4
    page = Path(printed["page"]).read_text()
    assert "perceive@v1" in page and "not_visible" in page


def test_page_shows_each_question_with_its_image_its_folder_and_what_differs_between_prompts(recorded: Path) -> None:
    asked = ["--prompt", "perceive@v1", "perceive@v2", "--limit", "2"]
    assert main(["prompts", "replay", str(recorded), *asked]) == 0
    page = (recorded / "replay.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert 'href="interventions/0000/"' in page and 'href="interventions/0003/"' in page
    assert page.count("<details><summary>perceive@v1 and perceive@v2</summary>") == 1
    assert "\n@@ " in page and "\n+" in page


def test_variants_with_the_same_prompts_have_no_difference_to_show(recorded: Path) -> None:
    vlms = ["--vlm", "embedded", "embedded,point-error-px=3"]
    assert main(["prompts", "replay", str(recorded), *vlms, "--limit", "1"]) == 0
    assert "What differs between the prompts" not in (recorded / "replay.html").read_text()


def test_damaged_picture_of_a_question_is_replaced_by_what_the_camera_saw(recorded: Path) -> None:
    (recorded / "interventions" / "0000" / "annotated.png").write_bytes(b"\x89PNG, no more")
    query = load_queries(recorded)[0]
    assert np.array_equal(np.asarray(query.picture), next(iter(query.scene.frames.values())).rgb)


def test_command_asks_with_the_tools_that_the_run_added(recorded: Path, capsys) -> None:
    config = {"config": {"task": "usb_insertion", "agent": {"tools": ["no_such_tool"]}}}
    (recorded / "config.json").write_text(json.dumps(config))
    assert main(["prompts", "replay", str(recorded)]) == 2
    assert "Unknown tool 'no_such_tool'" in capsys.readouterr().err
    (recorded / "config.json").write_text(json.dumps(config).replace("no_such_tool", "measure"))
    assert main(["prompts", "replay", str(recorded), "--limit", "1", "--json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--prompt", "perceive"], "write name@vN"),
        (["--prompt", "perceive@v99"], "has no version 99"),
        (["--prompt", "nonsense@v1"], "no prompt 'nonsense'"),
        (["--limit", "0"], "limit"),
        (["--langsmith"], "LANGSMITH_API_KEY is not set"),
    ],
)
def test_command_refuses_in_one_line(recorded: Path, capsys, monkeypatch, arguments, complaint) -> None:
    monkeypatch.delenv("LANGSMITH_API_KEY", raising=False)
    assert main(["prompts", "replay", str(recorded), *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recorded questions"):
        load_queries(tmp_path)


def test_damaged_question_is_named(recorded: Path) -> None:
    (recorded / "interventions" / "0001" / "intervention.json").write_text("{")
    with pytest.raises(ConfigError, match="0001 is damaged"):
        load_queries(recorded)
