"""The search itself, with a tiny model and evaluators whose answers are known."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evaluators.base import RATIO_SUFFIX, SUPERNET_SUFFIX, Direction, EvaluationError, Measurement, Subject
from nas.config import SearchConfig, parse_config
from nas.front import front_of, hypervolume_by_trial
from nas.new_run import shape_to_json
from nas.objectives import InfeasibleBudgetError
from nas.preparation import PreparationError, Prepared, prepare
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.search import Search, SearchError, Status
from nas.seeds import Seed
from nas.store.folder import FolderStore
from nas.store.trial_store import TrialStore
from nas.supernet.supernet import Supernet
from nas.trial import TrialState
from search_spaces import make_space
from search_spaces.base import SearchSpace, largest, smallest
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import tiny_model

CONFIG = """\
model: tiny
objectives: [parameters, perplexity]
strategy: {type: random, seeds: []}
trials: 12
"""


def num_parameters(subject: Subject) -> float:
    return float(sum(parameter.numel() for parameter in subject.model.parameters()))


@dataclass(kw_only=True)
class Known:
    """An evaluator that computes its value from the model, and counts its calls."""

    name: str
    value: Callable[[Subject], float] = num_parameters
    unit: str = "parameters"
    direction: Direction = "minimize"
    varies: bool = False
    calls: int = field(default=0)

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        self.calls += 1
        return {self.name: Measurement(value=self.value(subject), unit=self.unit)}


def quality(subject: Subject) -> float:
    """Worse the smaller the model, so that every size is on the front."""
    return 1e6 / num_parameters(subject)


def ends(space: SearchSpace) -> tuple[Seed, ...]:
    pairs = ((largest(space), "supernet"), (smallest(space), "smallest"))
    return tuple(
        Seed(candidate=candidate, sub_network=space.sub_network(candidate), source=source)
        for candidate, source in pairs
    )


class Bench:
    """A search over a tiny Llama in a folder."""

    def __init__(
        self, folder: Path, *, quality: Known | None = None, cost: Known | None = None, config: str = CONFIG
    ) -> None:
        self.cost = cost or Known(name="parameters")
        self.quality = quality or Known(name="perplexity", unit="perplexity", value=globals()["quality"])
        supernet = Supernet(tiny_model("llama"))
        space = make_space("joint", supernet.shape, supernet.ranking)
        self.config: SearchConfig = parse_config(config)
        self.prepared = Prepared(
            supernet=supernet,
            space=space,
            seeds=ends(space),
            objectives=(self.cost, self.quality),
            also=(),
        )
        self.directory = RunDirectory(folder)
        self.statuses: list[Status] = []

    def run(self) -> Run:
        if not self.directory.config_path.exists():
            environment = {"search_id": "x", "device": {}, "supernet": shape_to_json(self.prepared.supernet.shape)}
            RunDirectory.create(self.directory.path, config_yaml=self.config.to_yaml(), environment=environment)
        with FolderStore.open(self.directory) as store:
            Search(self.config, self.prepared, store).run(self.statuses.append)
        return Run.open(self.directory.path)


def test_the_first_trials_are_the_supernet_and_the_smallest(tmp_path: Path) -> None:
    run = Bench(tmp_path).run()
    assert [trial.source for trial in run.trials] == ["supernet", "smallest"] + ["random"] * 10
    assert run.trials[0].sub_network.is_full
    assert len({trial.sub_network.key for trial in run.trials}) == 12
    assert all(trial.state is TrialState.COMPLETE for trial in run.trials)


def test_measurements_are_of_the_active_sub_network(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for trial in bench.run().trials:
        extracted = bench.prepared.supernet.extract(trial.sub_network)
        assert trial.measurements["parameters"].value == sum(p.numel() for p in extracted.parameters())


def test_hypervolume_never_falls_and_the_file_has_the_last(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.run()
    volumes = [status.hypervolume for status in bench.statuses if status.hypervolume is not None]
    assert volumes == sorted(volumes)
    assert run.record["hypervolume"] == volumes[-1] > 0


def test_only_the_last_front_is_said_to_be_that_of_a_concluded_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, write = [], RunDirectory.write_front

    def note_and_write(directory: RunDirectory, front: Mapping[str, Any]) -> None:
        said.append(front["search"]["has_concluded"])
        write(directory, front)

    monkeypatch.setattr(RunDirectory, "write_front", note_and_write)
    bench = Bench(tmp_path)
    assert bench.run().record["search"]["has_concluded"]
    assert (said[-1], any(said[:-1])) == (True, False)
    assert len(said) > 11


def test_hypervolumes_told_have_one_reference_point(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.run()
    assert bench.statuses[0].hypervolume is None
    assert [status.hypervolume for status in bench.statuses[1:]] == hypervolume_by_trial(run.trials, run.goal)[1:]


def test_a_resumed_search_evaluates_nothing_twice(tmp_path: Path) -> None:
    first = Bench(tmp_path, config=CONFIG.replace("trials: 12", "trials: 7"))
    first.run()
    second = Bench(tmp_path)
    resumed = second.run()
    assert (first.cost.calls, second.cost.calls) == (7, 5)
    alone = Bench(tmp_path / "alone").run()
    assert [trial.sub_network for trial in resumed.trials] == [trial.sub_network for trial in alone.trials]


def test_a_trial_that_goes_wrong_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    calls = itertools.count()

    def moody(subject: Subject) -> float:
        call = next(calls)
        if call == 3:
            return math.nan
        if call == 4:
            raise RuntimeError("out of memory")
        if call == 5:
            raise EvaluationError("A score must be had.")
        return quality(subject)

    run = Bench(tmp_path, quality=Known(name="perplexity", unit="perplexity", value=moody)).run()
    failed = {trial.number: trial.reason for trial in run.trials if trial.state is TrialState.FAILED}
    assert failed == {
        3: "A score must be a finite number, but perplexity is nan.",
        4: "RuntimeError: out of memory",
        5: "A score must be had.",
    }
    assert len(run.trials) == 12
    assert not set(failed) & {trial.number for trial in run.front()}


def test_a_supernet_that_fails_ends_the_search_before_anything_is_stored(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quality=Known(name="perplexity", value=lambda subject: math.nan))
    with pytest.raises(SearchError, match=r"begins with the supernet itself, and that failed: .*perplexity is nan"):
        bench.run()
    with TrialStore(bench.directory.trials_path) as store:
        assert store.trials(bench.prepared.supernet.shape) == []


def test_an_unreachable_budget_names_what_is_reached(tmp_path: Path) -> None:
    bench = Bench(tmp_path, config=CONFIG + "budget: {parameters: {max: 0.01x}}\n")
    with pytest.raises(InfeasibleBudgetError, match=r"budget on parameters must be within reach .* relax the budget"):
        bench.run()
    with TrialStore(bench.directory.trials_path) as store:
        assert len(store.trials(bench.prepared.supernet.shape)) == 2


def infinite_when_smallest(bench: Bench) -> Callable[[Subject], float]:
    smallest_model = bench.prepared.supernet.extract(bench.prepared.seeds[1].sub_network)
    least = sum(parameter.numel() for parameter in smallest_model.parameters())
    return lambda subject: math.inf if num_parameters(subject) == least else quality(subject)


def unable_when_smallest(bench: Bench) -> Callable[[Subject], float]:
    value = infinite_when_smallest(bench)

    def look(subject: Subject) -> float:
        if math.isinf(found := value(subject)):
            raise EvaluationError("A score must be had.")
        return found

    return look


@pytest.mark.parametrize("value", [infinite_when_smallest, unable_when_smallest])
def test_a_smallest_that_fails_does_not_make_a_budget_unreachable(
    value: Callable[[Bench], Callable[[Subject], float]], tmp_path: Path
) -> None:
    bench = Bench(tmp_path, config=CONFIG + "budget: {parameters: {max: 0.5x}}\n")
    bench.quality.value = value(bench)
    run = bench.run()
    assert run.trials[1].state is TrialState.FAILED
    assert run.front()


def test_a_smallest_that_fails_still_shows_what_is_unreachable(tmp_path: Path) -> None:
    bench = Bench(tmp_path, config=CONFIG + "budget: {parameters: {max: 0.01x}}\n")
    bench.quality.value = infinite_when_smallest(bench)
    with pytest.raises(InfeasibleBudgetError, match="budget on parameters must be within reach"):
        bench.run()


def test_a_budget_keeps_trials_above_it_off_the_front(tmp_path: Path) -> None:
    run = Bench(tmp_path, config=CONFIG + "budget: {parameters: {max: 0.5x}}\n").run()
    limit = 0.5 * run.supernet.measurements["parameters"].value
    assert run.front()
    assert all(trial.measurements["parameters"].value <= limit for trial in run.front())


def test_what_varies_is_measured_again_on_the_front(tmp_path: Path) -> None:
    """The first reading of each model flatters it by up to a half; what is left on the front are second readings."""
    seen: dict[float, int] = {}

    def flattering(subject: Subject) -> float:
        size = num_parameters(subject)
        seen[size] = seen.get(size, 0) + 1
        return size if seen[size] > 1 or subject.reference is None else size * (0.5 + size % 7 / 14)

    bench = Bench(tmp_path, cost=Known(name="parameters", value=flattering, varies=True))
    run = bench.run()
    assert bench.quality.calls == 12  # what does not vary is not measured again
    for trial in run.front():
        extracted = bench.prepared.supernet.extract(trial.sub_network)
        assert trial.measurements["parameters"].value == sum(p.numel() for p in extracted.parameters())
    assert [trial.number for trial in front_of(run.trials, run.goal)] == [
        trial["number"] for trial in run.record["trials"]
    ]


@dataclass(kw_only=True)
class Timed(Known):
    """A latency in proportion to the size, told with its ratio to the supernet, which takes 10 ms, and later 9.9 ms."""

    seen: Counter[float] = field(default_factory=Counter)

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        size = num_parameters(subject)
        self.seen[size] += 1
        if subject.reference is None:
            return {self.name: Measurement(value=0.01, unit="s")}
        with subject.reference() as supernet:
            ratio = size / sum(parameter.numel() for parameter in supernet.parameters())
        taken_s = ratio * subject.reference_measurements[self.name].value
        return {
            self.name: Measurement(value=taken_s, unit="s"),
            self.name + RATIO_SUFFIX: Measurement(value=ratio, unit="ratio", ci95=(ratio, ratio)),
            self.name + SUPERNET_SUFFIX: Measurement(value=0.01 if self.seen[size] == 1 else 0.0099, unit="s"),
        }


def timed(folder: Path, config: str) -> tuple[Timed, Run]:
    latency = Timed(name="decode_latency", unit="s", varies=True)
    return latency, Bench(folder, cost=latency, config=config).run()


def test_who_enters_the_front_while_it_is_confirmed_is_confirmed_too(tmp_path: Path) -> None:
    config = CONFIG.replace("parameters", "{latency: {workload: decode}}")
    _, free = timed(tmp_path / "free", config)
    last_in_s = max(one.measurements["decode_latency_ratio"].value for one in free.trials[1:]) * 0.01
    limit = f"budget: {{latency: {{max: {last_in_s * 0.995}s}}}}\n"
    latency, run = timed(tmp_path / "limited", config + limit)
    assert max(one.measurements["decode_latency"].value for one in run.front()) == pytest.approx(0.99 * last_in_s)
    for trial in run.front():
        model = Supernet(tiny_model("llama")).extract(trial.sub_network)
        assert latency.seen[sum(parameter.numel() for parameter in model.parameters())] == 2


def test_a_disturbed_second_reading_does_not_replace_a_surer_first(tmp_path: Path) -> None:
    """The machine is busy while the front is confirmed, and every second reading comes out at a tenth."""
    seen: set[float] = set()

    class Disturbed(Known):
        def evaluate(self, subject: Subject) -> dict[str, Measurement]:
            size = num_parameters(subject)
            if size in seen:
                disturbed = Measurement(value=size / 10, unit="s", ci95=(0.0, size), flags=("contended",))
                return {self.name: disturbed}
            seen.add(size)
            return {self.name: Measurement(value=size, unit="s", ci95=(0.99 * size, 1.01 * size))}

    run = Bench(tmp_path, cost=Disturbed(name="parameters", varies=True)).run()
    assert run.front()
    assert all(trial.measurements["parameters"].flags == () for trial in run.front())


def test_the_reference_is_the_supernet_and_only_others_have_one(tmp_path: Path) -> None:
    sizes: list[tuple[float, float | None, float | None]] = []

    def look(subject: Subject) -> float:
        own = num_parameters(subject)
        reference = None
        if subject.reference is not None:
            with subject.reference() as supernet:
                reference = float(sum(parameter.numel() for parameter in supernet.parameters()))
            assert num_parameters(subject) == own
        recorded = subject.reference_measurements.get("parameters")
        sizes.append((own, reference, None if recorded is None else recorded.value))
        return quality(subject)

    Bench(tmp_path, quality=Known(name="perplexity", value=look)).run()
    full = sizes[0][0]
    assert sizes[0] == (full, None, None)
    assert all(reference == recorded == full for _, reference, recorded in sizes[1:])


def test_a_small_space_ends_when_nothing_is_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path, config=CONFIG.replace("trials: 12", "trials: 1000"))
    shape, ranking = bench.prepared.supernet.shape, bench.prepared.supernet.ranking
    space = make_space("layer_drop", shape, ranking, drop="layer")
    bench.prepared = Prepared(
        supernet=bench.prepared.supernet,
        space=space,
        seeds=ends(space),
        objectives=bench.prepared.objectives,
        also=(),
    )
    assert len(bench.run().trials) == 2 ** (shape.num_layers - 1)


def test_time_ends_a_search(tmp_path: Path) -> None:
    run = Bench(tmp_path, config=CONFIG.replace("trials: 12", "time: 0.000001s")).run()
    assert len(run.trials) == 2


def test_two_evaluators_of_one_measurement_are_refused() -> None:
    config = parse_config(
        CONFIG.replace("[parameters, perplexity]", "[flops, {flops: {context_tokens: 8}}]").replace("tiny", "bundled")
    )
    with pytest.raises(PreparationError, match="must measure something else, but two measure flops"):
        prepare(config)


def test_a_trial_that_ended_its_process_three_times_is_given_up(tmp_path: Path) -> None:
    class Crashed(FolderStore):
        def begin(self, sub_network: SubNetwork) -> int:
            return 4 if sub_network == doomed else 1

    bench = Bench(tmp_path)
    undisturbed = bench.run()
    doomed = undisturbed.trials[4].sub_network
    again = Bench(tmp_path / "again")
    environment = {"search_id": "x", "device": {}, "supernet": shape_to_json(again.prepared.supernet.shape)}
    RunDirectory.create(again.directory.path, config_yaml=again.config.to_yaml(), environment=environment)
    with TrialStore(again.directory.trials_path) as trials:
        Search(again.config, again.prepared, Crashed(again.directory, trials)).run(again.statuses.append)
    given_up = Run.open(again.directory.path).trials[4]
    assert (given_up.sub_network, given_up.state) == (doomed, TrialState.FAILED)
    assert given_up.reason == "A trial must not end its process, but this one did 3 times; it was not tried again."
    assert len(again.statuses) == 12
