"""Draw how often a policy succeeds over control steps: a line for each file that examples/fetch_reach.py wrote.

python scripts/draw_curves.py docs/extend/fetch_reach/seed_*.json --out docs/extend/fetch_reach/curve.png
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

STYLES = (("#0b6e99", "o", "-"), ("#c2570c", "s", "--"), ("#3f7d20", "^", ":"), ("#7a3e9d", "D", "-."))
"""Colour, mark and line of each seed, told apart without colours too."""


def draw(results: Sequence[Path]) -> Figure:
    """Return a figure of success, [%], over control steps, [1]; each file is {"seed", "curve": [{"steps", ...}]}."""
    figure = Figure(figsize=(7.0, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    for n, path in enumerate(results):
        result = json.loads(path.read_text())
        colour, mark, line = STYLES[n % len(STYLES)]
        steps = [row["steps"] for row in result["curve"]]
        shares = [100.0 * row["successes"] / row["episodes"] for row in result["curve"]]
        axes.plot(steps, shares, line, color=colour, marker=mark, label=f"seed {result['seed']}")
    axes.set(xlabel="control steps in the environment", ylabel="success of the policy alone [%]", ylim=(-3, 103))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def main() -> None:
    """Write the picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("results", type=Path, nargs="+")
    options.add_argument("--out", type=Path, required=True)
    told = options.parse_args()
    draw(told.results).savefig(told.out)


if __name__ == "__main__":
    main()
