import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_ten_lines_about_ones_own_vlm_run_as_written(tmp_path: Path) -> None:
    """But for the port, which somebody else may have."""
    (first, *_) = re.findall(r"```bash\n(.*?)```", (DOCS / "vlm.md").read_text(), re.DOTALL)
    port = str(free_port())
    script = f'set -e -m\nexport PATH="{Path(sys.executable).parent}:$PATH"\n' + first.replace("8000", port)
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, timeout=1_000)
    for mode in ("guide", "prune"):
        assert (tmp_path / "ask" / mode / "answer.png").is_file()
