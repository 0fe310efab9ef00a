import json
import time
from pathlib import Path

import pytest

from agps_agent.fleet.status import read_status
from agps_agent.fleet.training import STATUS
from rl.errors import AgpsError, ConfigError


def said(folder: Path, content: str) -> Path:
    (folder / "fleet").mkdir()
    (folder / "fleet" / STATUS).write_text(content)
    return folder


def test_status_says_how_old_it_is(tmp_path: Path) -> None:
    status = read_status(said(tmp_path, json.dumps({"at": time.time() - 100.0, "robots": [], "pool": {}})))
    assert 100.0 <= status["age_s"] < 3_600.0 and status["robots"] == []


def test_status_of_a_clock_that_went_back_is_new(tmp_path: Path) -> None:
    assert read_status(said(tmp_path, json.dumps({"at": time.time() + 1e6})))["age_s"] == 0.0


def test_run_that_is_no_fleets_is_named_with_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no fleet in .*: `agps train TASK --robots N"):
        read_status(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not JSON"), ('{"at": "noon"}', "at is 'noon', no time"), ("[]", "object")],
)
def test_damaged_status_is_said(content: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(AgpsError, match=words):
        read_status(said(tmp_path, content))
