import json
from dataclasses import replace
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.keypoints.store import load_keypoints
from tests.agps_agent.keypoints.test_store import without_depth
from tests.agps_agent.scenes import LEFT, camera, draw, project, scene
from tools.scene import save_scene

U, V = project(draw(camera()), LEFT[None])[0].round(1)


@pytest.fixture(autouse=True)
def still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved scene in the working directory."""
    monkeypatch.chdir(tmp_path)
    seen = scene()
    save_scene(replace(seen, frames={"side": without_depth(seen.frames["side"])}), tmp_path / "still")


def test_script_marks_a_saved_scene(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["keypoints", "mark", "usb_insertion", "--scene", "still", "--at", f"port_left=side,{U},{V}"]
    assert main([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["missing"]) == ("keypoints/usb_insertion", ["port_right"])
    (image,) = load_keypoints(Path("keypoints/usb_insertion")).images
    assert dict(image.marks) == {"port_left": (U, V)}
    assert main([*argv]) == 0  # what is there stays
    assert main(["keypoints", "list", "usb_insertion"]) == 0
    assert "port_left  marked in 2" in capsys.readouterr().out


def test_show_draws_the_marks(capsys: pytest.CaptureFixture[str]) -> None:
    main(["keypoints", "mark", "usb_insertion", "--scene", "still", "--at", f"port_left=side,{U},{V}"])
    capsys.readouterr()
    assert main(["keypoints", "show", "usb_insertion"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--at", "port_left"], "write NAME=CAMERA,U,V"),
        (["--at", "port_left=front,1,2"], "there is no camera 'front'; the scene has side"),
        (["--at", "port_left=side,1"], "write NAME=CAMERA,U,V"),
        (["--at", "lid=side,300,300"], "usb_insertion has no keypoint 'lid'; it has port_left, port_right"),
        (["--at", "port_left=side,999,2"], "is outside of side, 640 x 480 px"),
        (["--at", "port_left=side,2,2"], "no depth at the mark of port_left"),
        (["--from-truth"], "--from-truth asks the simulator; leave out --at and --scene"),
        (["--at", "port_left=side,1,2", "--images", "2"], "--at marks one scene, not --images 2"),
    ],
)
def test_wrong_marks_are_refused_in_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keypoints", "mark", "usb_insertion", "--scene", "still", *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not Path("keypoints").exists()


def test_scene_of_another_task_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keypoints", "mark", "towel_folding", "--scene", "still", "--at", "corner_goal=side,1,2"]) == 2
    assert "is of task usb_insertion, not towel_folding" in capsys.readouterr().err


def test_simulator_marks_what_its_cameras_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keypoints", "mark", "usb_insertion", "--from-truth", "--images", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["missing"] == [] and told["keypoints"]["port_left"] >= 2


def test_reference_model_without_marks_says_how_to_make_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "usb_insertion", "--scene", "still", "--vlm", "reference"]) == 2
    error = capsys.readouterr().err
    assert "There are no marked keypoints in keypoints/usb_insertion; `agps keypoints mark TASK` makes some." in error
