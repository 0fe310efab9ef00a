"""Traces on disk: what was reported, put together again; images once; what is sent, and what is not."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.tracing import client
from agps_agent.tracing.client import ImageFilter
from agps_agent.tracing.images import decode_image, image_name, name_of
from agps_agent.tracing.report import write_trace_report
from agps_agent.tracing.store import TraceStore
from agps_agent.tracing.truth import load_truth, save_truth
from agps_agent.tracing.wire import Update
from rl.errors import AgpsError, ConfigError

PNG = b"\x89PNG picture"
ENCODED = base64.b64encode(PNG).decode()
PLAIN = {"type": "image", "base64": ENCODED, "mime_type": "image/png"}
OPENAI = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}}


@pytest.fixture
def store(tmp_path: Path):
    store = TraceStore(tmp_path / "traces")
    yield store
    store.close()


def post(run: str, **fields: Any) -> Update:
    return Update(kind="post", id=run, fields=fields)


def patch(run: str, **fields: Any) -> Update:
    return Update(kind="patch", id=run, fields=fields)


def test_run_is_put_together_of_what_was_reported_of_it(store: TraceStore) -> None:
    store.apply([post("a", name="ask", run_type="chain", start_time="2025-01-01T00:00:00", inputs={"x": [1, 2]})])
    store.apply([patch("a", end_time="2025-01-01T00:00:02.5", outputs={"y": {"z": None}})])
    (run,) = store.trace("a")
    assert (run["name"], run["inputs"], run["outputs"]) == ("ask", {"x": [1, 2]}, {"y": {"z": None}})
    assert run["latency_s"] == 2.5 and run["tokens"] == 0


def test_end_that_arrives_before_the_beginning_is_kept(store: TraceStore) -> None:
    store.apply([patch("a", end_time="2025-01-01T00:00:01", error="broken")])
    assert store.traces() == []  # nobody knows yet what it is
    store.apply([post("a", name="ask", start_time="2025-01-01T00:00:00")])
    (trace,) = store.traces()
    assert (trace["latency_s"], trace["error"]) == (1.0, "broken")


def test_run_that_goes_on_has_no_latency(store: TraceStore) -> None:
    store.apply([post("a", name="ask", start_time="2025-01-01T00:00:00")])
    assert store.traces()[0]["latency_s"] is None


def test_newest_trace_is_first_and_only_roots_are_listed(store: TraceStore) -> None:
    for day, name in ((2, "b"), (3, "c"), (1, "a")):
        store.apply([post(name, name=name, start_time=f"2025-01-0{day}T00:00:00")])
        store.apply([post(f"{name}1", name="perceive", trace_id=name, parent_run_id=name, start_time="2025-01-09")])
    assert [trace["name"] for trace in store.traces()] == ["c", "b", "a"]


def test_runs_of_a_trace_stand_in_the_order_of_their_beginning(store: TraceStore) -> None:
    for order, run in (("1.2", "plan"), ("1", "ask"), ("1.1", "perceive"), ("1.1.1", "model")):
        store.apply([post(run, name=run, trace_id="ask", dotted_order=order)])
    assert [run["name"] for run in store.trace("ask")] == ["ask", "perceive", "model", "plan"]
    assert store.trace("nobody") == []


def usage(tokens: int | None) -> dict[str, Any]:
    return {"generations": [[{"message": {"kwargs": {"usage_metadata": {"total_tokens": tokens}}}}]]}


def test_tokens_of_all_model_calls_are_added_up(store: TraceStore) -> None:
    store.apply([post("ask", name="ask", start_time="2025-01-01T00:00:00")])
    for run, tokens in (("m1", 300), ("m2", 45), ("m3", None)):
        store.apply([post(run, run_type="llm", trace_id="ask", parent_run_id="ask", outputs=usage(tokens))])
    store.apply([post("t", run_type="tool", trace_id="ask", parent_run_id="ask", outputs=usage(999))])
    assert store.traces()[0]["tokens"] == 345


def test_feedback_stands_with_its_trace_and_the_last_word_counts(store: TraceStore) -> None:
    store.apply([post("a", name="ask", start_time="2025-01-01T00:00:00")])
    for score in (0.0, 1.0):
        fields = {"run_id": "a", "key": "episode_success", "score": score}
        store.apply([Update(kind="feedback", id="f", fields=fields)])
    assert store.traces()[0]["feedback"] == [{"key": "episode_success", "score": 1.0, "comment": None}]


def test_kind_of_answer_is_told_of_questions_only(store: TraceStore) -> None:
    for day, outputs in ((3, {"guidance": {"kind": "prune"}}), (2, {"guidance": None}), (1, [1])):
        store.apply([post(f"r{day}", name="ask", start_time=f"2025-01-0{day}", outputs=outputs)])
    assert [trace["guidance"] for trace in store.traces()] == ["prune", "", ""]


def test_image_is_kept_once_whoever_sent_it(store: TraceStore) -> None:
    store.apply([post(run, name=run, inputs={"messages": [[block]]}) for run, block in (("a", PLAIN), ("b", OPENAI))])
    name = name_of("png", PNG)
    for run in ("a", "b"):
        assert store.trace(run)[0]["inputs"] == {"messages": [[{"type": "image", "image": name}]]}
    assert store.image(name) == PNG and len(list((store.folder / "images").iterdir())) == 1


@pytest.mark.parametrize("name", ["", "..", "../traces.db", "a.png", "0" * 64, "0" * 64 + ".png", "0" * 64 + ".svg"])
def test_only_images_are_given_out(name: str, store: TraceStore) -> None:
    assert store.image(name) is None


def test_traces_are_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    first = TraceStore(tmp_path)
    first.apply([post("a", name="ask", start_time="2025-01-01T00:00:00", tags=["usb"])])
    first.close()
    again = TraceStore(tmp_path)
    assert [(trace["name"], trace["tags"]) for trace in again.traces()] == [("ask", ["usb"])]
    again.close()


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgpsError, match=r"Cannot keep traces in .*file.*; name another folder"):
        TraceStore(tmp_path / "file" / "traces")
    (tmp_path / "traces.db").write_bytes(b"no database" * 100)
    with pytest.raises(AgpsError, match="Cannot keep traces"):
        TraceStore(tmp_path)


def test_page_cannot_be_ended_by_what_a_model_says(store: TraceStore, tmp_path: Path) -> None:
    store.apply([post("a", name="</script><b>ask</b>", start_time="2025-01-01T00:00:00")])
    assert write_trace_report(store, tmp_path / "page.html", newest=5) == 1
    page = (tmp_path / "page.html").read_text()
    assert "</script><b>ask" not in page and r"<\/script><b>ask" in page


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (PLAIN, ("png", PNG)),
        (OPENAI, ("png", PNG)),
        ({**PLAIN, "mime_type": "image/jpeg"}, ("jpeg", PNG)),
        ({**PLAIN, "base64": "not base64!"}, ("png", b"")),
        ({"type": "text", "text": "image"}, None),
        ({"type": "image", "image": "name.png"}, None),
        ({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}, None),
        ({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}, None),
        ({}, None),
    ],
)
def test_image_is_found_in_both_forms(block: dict[str, Any], found: tuple[str, bytes] | None) -> None:
    assert decode_image(block) == found
    assert image_name(block) == (None if found is None else name_of(*found))


def images_in(value: Any) -> int:
    return json.dumps(value).count(ENCODED)


def test_image_is_sent_once_with_the_run_that_had_it_first() -> None:
    send = ImageFilter("once")
    first, second = {"messages": [PLAIN, "look"]}, {"messages": [PLAIN, "plan"]}
    assert [images_in(send(run)) for run in (first, second, first)] == [1, 0, 1]
    assert send(second)["messages"] == [{"type": "image", "image": name_of("png", PNG)}, "plan"]


def test_no_image_leaves_the_process_where_none_may() -> None:
    send = ImageFilter("none")
    assert images_in(send({"a": [{"b": OPENAI}], "c": (PLAIN,)})) == 0


def test_what_is_filtered_is_not_changed() -> None:
    run = {"messages": [PLAIN]}
    ImageFilter("none")(run)
    assert run == {"messages": [PLAIN]} and images_in(run) == 1


def test_other_choice_about_images_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"{client.IMAGES_VARIABLE} is 'all'; use once .* or none"):
        ImageFilter("all")


def test_truth_survives_the_way_to_the_disk_to_a_micrometre(tmp_path: Path, rng: np.random.Generator) -> None:
    truth = {name: rng.normal(size=3) for name in ("port_left", "plug_tip")}
    save_truth(tmp_path, truth)
    loaded = load_truth(tmp_path)
    assert loaded.keys() == truth.keys()
    for name, point in truth.items():
        np.testing.assert_allclose(loaded[name], point, atol=5.1e-7)


def test_real_robot_leaves_no_truth(tmp_path: Path) -> None:
    save_truth(tmp_path, {})
    assert list(tmp_path.iterdir()) == [] and load_truth(tmp_path) == {}
