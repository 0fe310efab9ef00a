"""Draw how good a policy is over control steps: a line for each file that an example wrote (success, or mean return).

python scripts/draw_curves.py docs/extend/fetch_reach/seed_*.json --out docs/extend/fetch_reach/curve.png
python scripts/draw_curves.py docs/extend/fetch_reach/sparse_*.json --out docs/extend/fetch_reach/sparse_curve.png
python scripts/draw_curves.py docs/extend/cartpole_balance/seed_*.json --out docs/extend/cartpole_balance/curve.png
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

STYLES = (("#0b6e99", "o", "-"), ("#c2570c", "s", "--"), ("#3f7d20", "^", ":"), ("#7a3e9d", "D", "-."))
"""Colour, mark and line of each seed, told apart without colours too."""


def draw(files: Sequence[Path]) -> Figure:
    """Return a figure over control steps of success, [%], or where none was counted, of the mean return.

    Each file is {"seed", "curve": [{"steps", "episodes", "successes" or "mean_return"}]}.
    """
    results = [json.loads(path.read_text()) for path in files]
    counted = all("successes" in row for result in results for row in result["curve"])
    figure = Figure(figsize=(7.0, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    for n, result in enumerate(results):
        colour, mark, line = STYLES[n % len(STYLES)]
        steps = [row["steps"] for row in result["curve"]]
        heights = [_success(row) if counted else row["mean_return"] for row in result["curve"]]
        axes.plot(steps, heights, line, color=colour, marker=mark, label=f"seed {result['seed']}")
    height, limits = (
        ("success of the policy alone [%]", (-3, 103)) if counted else ("mean return of the policy alone", (0, None))
    )
    axes.set(xlabel="control steps in the environment", ylabel=height, ylim=limits)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _success(row: dict[str, float]) -> float:
    return 100.0 * row["successes"] / row["episodes"]


def main() -> None:
    """Write the picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("results", type=Path, nargs="+")
    options.add_argument("--out", type=Path, required=True)
    told = options.parse_args()
    draw(told.results).savefig(told.out)


if __name__ == "__main__":
    main()
