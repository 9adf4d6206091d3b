"""Puts the tables of ``pruning_methods.py``'s records into the pages that quote them.

    python benchmarks/pruning_tables.py docs/methods/*.md

A page says where: between ``<!-- table: RECORD [also=NAME] [pruners=A,B] -->`` and ``<!-- end -->`` stands the table of
``results/pruning_methods.RECORD.json``, of the first evaluator or of another one that was scored beside it. A cell is
the mean over seeds ± its standard error and the number of seeds; for one seed ± is the standard error over examples.
"""

import argparse
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PLACE = re.compile(r"(<!-- table: (?P<record>\S+)(?P<options>(?: \w+=\S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        text = page.read_text()
        page.write_text(PLACE.sub(filled, text))
        print(f"{page}: {len(PLACE.findall(text))} tables")


def filled(place: re.Match[str]) -> str:
    options = dict(option.split("=") for option in place["options"].split())
    rows = json.loads((RESULTS / f"pruning_methods.{place['record']}.json").read_text())["rows"]
    if "pruners" in options:
        rows = [row for row in rows if row["pruner"] in options["pruners"].split(",")]
    return place[1] + table(rows, also=options.get("also")) + place[4]


def table(rows: Sequence[Mapping[str, Any]], *, also: str | None = None) -> str:
    """One line for each pruner and recovery, one column for each share."""
    shares = sorted({row["share"] for row in rows}, reverse=True)
    lines = [
        f"| pruner | recovery | {' | '.join(f'{share:.0%}' for share in shares)} |",
        "|---|---|" + "---|" * len(shares),
    ]
    recoveries = list(dict.fromkeys(row["recovery"] for row in rows))
    for pruner in dict.fromkeys(row["pruner"] for row in rows):
        for recovery in recoveries:
            own = [row for row in rows if (row["pruner"], row["recovery"]) == (pruner, recovery)]
            if own:
                cells = [cell([row for row in own if row["share"] == share], also=also) for share in shares]
                lines.append(f"| `{pruner}` | {recovery} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(rows: Sequence[Mapping[str, Any]], *, also: str | None) -> str:
    if not rows:
        return "—"
    scored = [row if also is None else row["also"][also] for row in rows]
    values = [one["score" if also is None else "value"] for one in scored]
    mean = statistics.fmean(values)
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
    else:
        low, high = scored[0]["ci95"] or (mean, mean)
        error = (high - low) / 2 / 1.96
    if mean >= 1000:
        return f"{mean:,.0f} ({len(values)})"
    digits = 1 if mean >= 2 else 3
    return f"{mean:.{digits}f} ± {error:.{digits}f} ({len(values)})"


if __name__ == "__main__":
    main()
