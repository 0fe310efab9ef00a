import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_ten_lines_about_ones_own_vlm_run_as_written(tmp_path: Path) -> None:
    """But for the port, which somebody else may have."""
    (first, *_) = re.findall(r"```bash\n(.*?)```", (DOCS / "vlm.md").read_text(), re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    script = f'set -e -m\nexport PATH="{Path(sys.executable).parent}:$PATH"\n' + first.replace("8000", port)
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, timeout=1_000)
    for mode in ("guide", "prune"):
        assert (tmp_path / "ask" / mode / "answer.png").is_file()
