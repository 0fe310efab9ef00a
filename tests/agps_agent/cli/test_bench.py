"""`agps bench`: what cannot be measured is refused before anything is built; what is measured is printed in full."""

import json

import pytest

from agps_agent.cli.main import main


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["env", "--steps", "0"], "--steps is 0; ask for at least 1."),
        (["env", "--image-size", "0"], "--image-size is 0; ask for at least 1."),
        (["env", "knitting"], "There is no task 'knitting'"),
        (["float", "--demos", "0"], "--demos is 0; ask for at least 1."),
        (["float", "--frames", "-3"], "--frames is -3; ask for at least 1."),
        (["float", "--dimensions", "0"], "--dimensions is 0; ask for at least 1."),
        (["agent", "--questions", "0"], "--questions is 0; ask for at least 1."),
        (["agent", "--vlm", "gpt"], "There is no model 'gpt'; use embedded"),
        (["realtime", "--seconds", "0.5"], "--seconds is 0.5; ask for at least 1."),
        (["realtime", "--agent-s", "-1"], "--agent-s is -1.0; ask for at least 0."),
        (["realtime", "--robot", "franka"], "--robot"),
        (["memory", "--tolerance-mm", "0"], "--tolerance-mm is 0.0; ask for more than 0."),
        (["memory", "--tolerance-mm", "nan"], "--tolerance-mm is nan; give a finite number."),
        (["memory", "--scenes", "0"], "--scenes is 0; ask for at least 1."),
        (["grounding", "--progressed", "1.5"], "--progressed is 1.5; ask for at most 1."),
        (["grounding", "--progressed", "nan"], "--progressed is nan; give a finite number."),
        (["grounding", "--absent", "-1"], "--absent is -1; ask for at least 0."),
        (["grounding", "knitting"], "There is no task 'knitting'"),
        (["detectors", "knitting"], "There is no task 'knitting'"),
        (["detectors", "usb_insertion", "usb_insertion"], "TASK: name each once, not usb_insertion usb_insertion."),
        (["detectors", "--episodes", "0"], "--episodes is 0; ask for at least 1."),
        (["detectors", "--demos", "1"], "--demos is 1; ask for at least 2."),
        (["detectors", "--demos", "9", "--fit-on", "successes"], "fitted on good rollouts; leave it out."),
        (["detectors", "usb_insertion", "--demos", "4"], "compares with 5 demonstrations, not 4."),
        (["detectors", "usb_insertion", "--encoders", "vgg"], "Unknown encoder 'vgg'"),
        (["detectors", "usb_insertion", "--encoders"], "--encoders: name at least one."),
        (["detectors", "usb_insertion", "--detectors", "flaot"], "Unknown detector 'flaot'"),
        (["detectors", "usb_insertion", "--detectors", "stall"], "The detector stall is measured anyway"),
        (["detectors", "--policies", "runs/some"], "--policies: a policy is for one task; name that task alone."),
        (["detectors", "usb_insertion", "--policies", "runs/none"], "runs/none"),
        (["update", "--threads", "-1"], "--threads is -1; ask for at least 0."),
        (["update", "--image-size", "100"], "--image-size"),
        (["update", "--preset", "mine"], "--preset"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.count("\n") == 1


def test_numbers_are_one_object_with_json_and_one_line_each_without(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "float", "--demos", "2", "--frames", "6", "--dimensions", "4"]
    assert main([*argv, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(numbers)
    assert len({line.index(line.split()[1]) for line in lines}) == 1  # the numbers stand below each other
