import subprocess
import sys

import pytest

from evaluators import EVALUATORS, make_evaluator
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
    with pytest.raises(EvaluationError, match="options of the evaluator 'perplexity' do not fit: '<' not supported"):
        make_evaluator("perplexity", batch_size="many")


def test_importing_the_package_imports_no_framework() -> None:
    code = "import sys, evaluators; print([m for m in ('lm_eval', 'datasets', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
