import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluators import EVALUATORS, make_evaluator, measurements_of
from evaluators.base import EvaluationError
from evaluators.perplexity import Perplexity


def test_options_reach_the_evaluator() -> None:
    assert make_evaluator("perplexity", window_tokens=64) == Perplexity(window_tokens=64)


def test_unknown_evaluators_are_refused() -> None:
    with pytest.raises(EvaluationError, match="There is no evaluator 'latencies'; did you mean 'latency'"):
        make_evaluator("latencies")
    with pytest.raises(EvaluationError, match=f"no evaluator 'zzz'; choose one of {', '.join(EVALUATORS)}"):
        make_evaluator("zzz")


def test_unknown_options_are_refused() -> None:
    with pytest.raises(EvaluationError, match="'latency' has no option 'context_token'; did you mean 'context_tokens'"):
        make_evaluator("latency", workload="decode", context_token=1)
    with pytest.raises(EvaluationError, match="'flops' has no option 'zzz'; choose one of context_tokens"):
        make_evaluator("flops", zzz=1)
    with pytest.raises(EvaluationError, match="'parameters' has no option 'batch_size'; it takes none"):
        make_evaluator("parameters", batch_size=1)


def test_options_that_are_missing_or_of_another_type_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"options of the evaluator 'latency' do not fit: .*missing.*'workload'"):
        make_evaluator("latency")
    with pytest.raises(EvaluationError, match="options of the evaluator 'latency' do not fit: '<=' not supported"):
        make_evaluator("latency", workload="decode", max_s="3s")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("perplexity", {"limit": 1.5}, "limit must be a whole number, got 1.5; give one"),
        ("perplexity", {"batch_size": "many"}, "batch_size must be a whole number, got 'many'"),
        ("perplexity", {"window_tokens": None}, "window_tokens must be a whole number, got None"),
        ("flops", {"context_tokens": True}, "context_tokens must be a whole number, got True"),
        ("latency", {"workload": "decode", "batch_size": 1.5}, "batch_size must be a whole number, got 1.5"),
        ("memory", {"workload": "decode", "decode_tokens": "2"}, "decode_tokens must be a whole number, got '2'"),
        ("lm_eval", {"tasks": ["minimal_pairs"], "limit": 0.5}, "limit must be a whole number, got 0.5"),
        (
            "lm_eval",
            {"tasks": ["minimal_pairs"], "batch_tokens": None},
            "batch_tokens must be a whole number, got None",
        ),
        ("accuracy", {"data": "x.tsv", "max_tokens": None}, "max_tokens must be a whole number, got None"),
    ],
)
def test_counts_are_whole_numbers(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(EvaluationError, match=f"^{says}"):
        make_evaluator(name, **options)


def test_a_task_or_a_folder_may_stand_alone(tmp_path: Path) -> None:
    alone = make_evaluator("lm_eval", tasks="minimal_pairs", include_path=str(tmp_path), limit=2)
    assert alone.name == "minimal_pairs"
    assert measurements_of("lm_eval", {"tasks": "minimal_pairs"}) == ("minimal_pairs",)


def test_importing_the_package_imports_no_framework() -> None:
    code = "import sys, evaluators; print([m for m in ('lm_eval', 'datasets', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
