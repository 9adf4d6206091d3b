import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nas.report.page import MODULES, render_page, verdict
from nas.report.run import Run, gather
from nas.report.static import shared_file
from nas.trial import Trial
from tests.nas.report.conftest import HYPERVOLUME

ATTACK = "</script><script>alert('&amp;')</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open][-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def render(front: dict[str, Any], trials: list[Trial], *, comparison: str = "It wins by 2 points.") -> Page:
    run = gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    return Page(render_page(run, folder=Path("runs/half"), comparison=comparison, device="one CPU"))


@pytest.fixture
def run(front: dict[str, Any], trials: list[Trial]) -> Run:
    return gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)


def test_page_loads_nothing(front: dict[str, Any], trials: list[Trial]) -> None:
    page = render(front, trials)
    loading = {"src", "href", "srcset", "data", "action", "poster", "background"}
    assert not [(tag, attributes) for tag, attributes in page.elements if loading & set(attributes)]
    assert not re.search(r"url\(|@import", "".join(page.texts["style"]))
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_header_states_the_facts_and_the_comparison(front: dict[str, Any], trials: list[Trial]) -> None:
    page = render(front, trials)
    assert page.texts["h1"][0].strip() == "half"
    assert [text.strip() for text in page.texts["dd"]] == ["bundled", "7", "6", "one CPU"]
    assert "It wins by 2 points." in "".join(page.texts["strong"])


def test_table_lists_the_front_in_its_order(front: dict[str, Any], trials: list[Trial]) -> None:
    page = render(front, trials)
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and "tabindex" in attributes]
    assert [row["data-index"] for row in rows] == ["2", "1"]
    cells = [text.strip() for text in page.texts["td"]]
    assert cells[:1] == ["2"]
    assert cells[2:9] == ["0.600 ± 0.020", "2.00 ± 0.15", "10.00", "25 %", "25 %", "26 %", "50 %"]
    assert "nas export runs/half 2 --to huggingface --out trial-2" in page.texts["code"][0]


def test_ranks_before_recovery_and_after_stand_side_by_side(front: dict[str, Any], trials: list[Trial]) -> None:
    """Of three that were recovered the member on the first row was the best before, and is the second after."""
    for number, after in ((1, 0.80), (2, 0.62), (3, 0.61)):
        score = trials[number].measurements["arc_easy"]
        before = {1: 0.70, 2: 0.75, 3: 0.60}[number]
        both = {
            "arc_easy": replace(score, value=after),
            "arc_easy_before_recovery": replace(score, value=before),
        }
        trials[number] = replace(trials[number], measurements={**trials[number].measurements, **both})
    front["trials"] = [trials[2].to_json(), trials[1].to_json()]
    page = render(front, trials)
    headings = [text.strip() for text in page.texts["button"]]
    place = headings.index("Rank in arc easy before recovery")
    assert headings[place + 1] == "after"
    cells = [text.strip() for text in page.texts["td"]]
    assert cells[place : place + 2] == ["1", "2"]
    assert "arc easy before recovery (accuracy)" in headings


def test_failed_trials_are_listed_with_their_reason(front: dict[str, Any], trials: list[Trial]) -> None:
    items = [text.strip() for text in render(front, trials).texts["li"]]
    assert items[-2:] == [
        "Trial 4 (nsga2): The device ran out of memory.",
        "Trial 5 (nsga2): Without a finite number: arc easy.",
    ]


def test_names_stay_text_wherever_they_appear(front: dict[str, Any], trials: list[Trial]) -> None:
    plain = render(front, trials)
    front["search"] |= {"name": ATTACK, "model": ATTACK}
    hostile = render(front, trials, comparison=ATTACK)
    assert hostile.texts["h1"][0].strip() == ATTACK
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]


def test_embedded_data_survives_a_hostile_source(front: dict[str, Any], trials: list[Trial]) -> None:
    hostile = [Trial.from_json(trial.to_json() | {"source": ATTACK}, trial.sub_network.shape) for trial in trials]
    page = render(front, hostile)
    assert page.count("script") == 3
    assert page.count("img") == 0
    data = json.loads(page.texts["script"][0])
    assert {point["source"] for point in data["points"]} == {ATTACK, "supernet"}


def test_empty_front_says_so(front: dict[str, Any], trials: list[Trial]) -> None:
    page = render(front | {"trials": []}, trials)
    assert any("The front is empty" in text for text in page.texts["p"])
    assert page.count("table") == 0


def test_axes_can_be_chosen_only_among_more_than_two(front: dict[str, Any], trials: list[Trial]) -> None:
    assert render(front, trials).count("select") == 3
    front["supernet"]["measurements"].pop("parameters")
    assert render(front, trials).count("select") == 1


def test_verdict_names_the_best_within_the_budget(run: Run) -> None:
    assert verdict(run) == (
        "The front holds 2 sub-networks out of 6 trials. The best within the budget (decode latency ≤ 3 ms) is "
        "trial 1: arc easy 0.700 ± 0.020 at decode latency 2.50 ± 0.15 ms, 0.50× the supernet's."
    )


def test_verdict_of_an_empty_front(front: dict[str, Any], trials: list[Trial]) -> None:
    run = gather(front=front | {"trials": []}, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert verdict(run) == (
        "The front is empty: none of the 6 trials is usable within the budget (decode latency ≤ 3 ms)."
    )


def test_modules_become_one_script_without_imports_or_names_that_clash(
    front: dict[str, Any], trials: list[Trial]
) -> None:
    script = render(front, trials).texts["script"][-1]
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    declared = re.findall(r"^(?:async )?(?:function|const|let|class) ([\w$]+)", script, re.MULTILINE)
    assert {"element", "picture", "describePoint", "frontTraces", "legendOf", "sortBy"} <= set(declared)
    assert len(declared) == len(set(declared))


def test_each_module_follows_those_that_it_imports() -> None:
    for place, name in enumerate(MODULES):
        imported = re.findall(r'from "\./(.+?)";', shared_file(name))
        assert set(imported) <= set(MODULES[:place]), name
