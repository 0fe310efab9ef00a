"""What `agps emulate` refuses before it starts anything."""

from pathlib import Path

import pytest

from agps_agent.cli.main import main


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--slowdown", "0.5"], "slowdown is 0.5; ask for 1 (real time) to 20."),
        (["--slowdown", "nan"], "slowdown is nan; give a finite number."),
        (["--fps", "0"], "--fps is 0"),
        (["--image-size", "big"], "write it as WIDTHxHEIGHT"),
    ],
)
def test_bad_option_is_one_line(
    option: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emulate", "usb_insertion", "--station", str(tmp_path / "station.toml"), *option]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err
    assert list(tmp_path.iterdir()) == []
