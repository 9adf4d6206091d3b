import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import lm_eval
import numpy as np
import pytest
import torch
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from evaluators.base import EvaluationError, Subject
from evaluators.lm_eval_tasks import LmEvalTasks, evaluator
from evaluators.lm_eval_tasks.results import Score, average
from evaluators.lm_eval_tasks.scoring import TokenPair, log_likelihoods, plan
from nas.bundled import BUNDLED_MODEL

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BUNDLED_MODEL)


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


MODELS = {
    "llama": llama,
    "sliding window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)).eval(),
    "softcap": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, sliding_window=4, attn_logit_softcapping=2.0, final_logit_softcapping=5.0)
    ).eval(),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=4096, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
    ).eval(),
}

QUESTIONS = [
    {"question": f"{opening} the {noun} {verb}", "options": options, "answer": answer, "text": f"The {noun} {verb}."}
    for answer, (opening, noun, verb, options) in enumerate(
        [
            ("Where did", "captain", "go", ["home", "to the old house by the river", "away"]),
            ("Once upon a time " * 20 + "where did", "king", "go", ["home", "to sea", "away"]),
            ("When will", "doctor ", "come", ["soon", "never", "tomorrow"]),
        ]
        * 2
    )
    for answer in [answer % 3]
]
CHOICE = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{question}}?",
    "doc_to_choice": "options",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
KINDS = {
    "choice": CHOICE,
    "no_context": CHOICE | {"doc_to_text": ""},
    "norm": CHOICE | {"metric_list": [CHOICE["metric_list"][0] | {"metric": name} for name in ("acc_norm", "acc")]},
    "few_shot": CHOICE | {"num_fewshot": 2, "fewshot_split": "test"},
    "likelihood": CHOICE
    | {
        "output_type": "loglikelihood",
        "doc_to_choice": None,
        "doc_to_target": "{{options[answer]}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        ],
    },
    "rolling": CHOICE
    | {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_choice": None,
        "doc_to_target": "text",
        "metric_list": [{"metric": "byte_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}],
    },
    "generate": CHOICE
    | {
        "output_type": "generate_until",
        "doc_to_choice": None,
        "doc_to_target": "{{options[0]}}",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "strict", "filter": [{"function": "take_first"}]},
            {"name": "first_word", "filter": [{"function": "regex", "regex_pattern": "(\\w+)"}]},
        ],
    },
}


def write_tasks(folder: Path, documents: Sequence[dict] = QUESTIONS, **configs: dict) -> Path:
    """A folder with one YAML a config and one data file."""
    (folder / "questions.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    for name, config in configs.items():
        kind = {} if "group" in config else {"task": name}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(kind | config))
    return folder


def reference(folder: Path, names: list[str], model: PreTrainedModel, tokenizer, monkeypatch, **options) -> dict:
    """What lm-eval itself says."""
    monkeypatch.chdir(folder)  # its data files are relative to the working directory
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    with evaluator.quiet():
        return lm_eval.simple_evaluate(
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2),
            tasks=names,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=10,
            **options,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_lm_eval(kind, tmp_path, tokenizer, monkeypatch):
    write_tasks(tmp_path, **KINDS)
    model = llama()
    tasks = LmEvalTasks([kind], include_path=[tmp_path], batch_tokens=100)
    measurements = tasks.evaluate(Subject(model=model, tokenizer=tokenizer))
    expected = reference(tmp_path, [kind], model, tokenizer, monkeypatch)
    for sample, instances in zip(expected["samples"][kind], tasks._documents[kind] * 2, strict=False):
        for theirs, ours in zip(sample["resps"], instances, strict=True):
            if kind == "generate":
                assert ours.resps == theirs
            else:
                np.testing.assert_allclose(np.ravel(ours.resps), np.ravel(theirs), atol=1e-4)
    for metric in KINDS[kind]["metric_list"]:
        name, first_filter = metric["metric"], "strict" if kind == "generate" else "none"
        value = expected["results"][kind][f"{name},{first_filter}"]
        measurement = measurements[f"lm_eval/{kind}/{name}"]
        assert measurement.value == pytest.approx(value, rel=1e-4)
        assert measurement.n == len(QUESTIONS)
        if metric["aggregation"] == "mean":
            stderr = expected["results"][kind][f"{name}_stderr,{first_filter}"]
            assert measurement.ci95 == pytest.approx((value - 1.96 * stderr, value + 1.96 * stderr))
    main = KINDS[kind]["metric_list"][0]
    assert measurements[kind] == measurements[f"lm_eval/{kind}/{main['metric']}"]
    assert tasks.direction == ("maximize" if main["higher_is_better"] else "minimize")


def test_all_filters_are_reported(tmp_path, tokenizer):
    write_tasks(tmp_path, generate=KINDS["generate"])
    tasks = LmEvalTasks(["generate"], include_path=[tmp_path], limit=1)
    measurements = tasks.evaluate(Subject(model=llama(), tokenizer=tokenizer))
    assert measurements.keys() == {
        "generate",
        "lm_eval/generate/exact_match",
        "lm_eval/generate/exact_match,first_word",
    }


@pytest.mark.parametrize("name", MODELS)
def test_batches_with_padding_score_like_single_requests(name):
    torch.manual_seed(1)
    model = MODELS[name]()
    rng = random.Random(0)
    pairs: list[TokenPair] = [
        ([rng.randrange(4096) for _ in range(context)], [rng.randrange(4096) for _ in range(continuation)])
        for context, continuation in [(1, 9), (12, 1), (3, 4), (40, 2), (7, 7), (70, 3), (1, 1)]
    ]
    pairs.append((pairs[1][0], [5]))  # the same input as pair 1, another continuation
    prepared = plan(pairs, max_length=64, batch_tokens=50, device=model.device)
    assert sum(len(batch.input_ids_BT) for batch in prepared.batches) == len(pairs) - 1
    for (context, continuation), (log_likelihood, _) in zip(pairs, log_likelihoods(model, prepared), strict=True):
        tokens = torch.tensor([(context + continuation)[-65:]])
        with torch.no_grad():
            log_probs = model(input_ids=tokens[:, :-1]).logits[0, -len(continuation) :].double().log_softmax(-1)
        expected = log_probs.gather(1, torch.tensor(continuation)[:, None]).sum()
        assert log_likelihood == pytest.approx(float(expected), abs=1e-4)


def test_greedy_means_that_every_token_is_the_likeliest():
    model = llama()
    with torch.no_grad():
        first = int(model(input_ids=torch.tensor([[3, 4]])).logits[0, -1].argmax())
        second = int(model(input_ids=torch.tensor([[3, 4, first]])).logits[0, -1].argmax())
    pairs = [([3, 4], [first, second]), ([3, 4], [first]), ([3, 4], [first, second + 1]), ([3, 4], [first + 1])]
    results = log_likelihoods(model, plan(pairs, max_length=64, batch_tokens=8, device=model.device))
    assert [is_greedy for _, is_greedy in results] == [True, True, False, False]


def test_of_equally_likely_tokens_the_first_is_the_greedy_one():
    model = llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    pairs = [([3], [0, 0]), ([3], [0, 1]), ([3], [1]), ([3], [0])]
    results = log_likelihoods(model, plan(pairs, max_length=64, batch_tokens=8, device=model.device))
    assert [is_greedy for _, is_greedy in results] == [True, False, False, True]
    assert [log_likelihood for log_likelihood, _ in results] == pytest.approx(
        [-len(tokens) * math.log(4096) for _, tokens in pairs]
    )


def test_bfloat16_models_are_scored_in_float32():
    model = llama().to(torch.bfloat16)
    pairs = [([1], [2, 3, 4])]
    ((log_likelihood, _),) = log_likelihoods(model, plan(pairs, max_length=64, batch_tokens=8, device=model.device))
    with torch.no_grad():
        log_probs = model(input_ids=torch.tensor([[1, 2, 3]])).logits[0].double().log_softmax(-1)
    assert log_likelihood == pytest.approx(float(log_probs[[0, 1, 2], [2, 3, 4]].sum()), abs=1e-5)


def test_a_model_that_cannot_tell_scores_one_half(tokenizer):
    model = llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    measurements = LmEvalTasks(["minimal_pairs_passive"]).evaluate(Subject(model=model, tokenizer=tokenizer))
    assert 0.4 < measurements["minimal_pairs_passive"].value < 0.6


def test_the_standard_error_of_an_accuracy_has_its_closed_form(tokenizer):
    name = "minimal_pairs_countability"
    tasks = LmEvalTasks([name], limit=50)
    measurement = tasks.evaluate(Subject(model=llama(), tokenizer=tokenizer))[name]
    p, n = measurement.value, 50
    half = 1.96 * math.sqrt(p * (1 - p) / (n - 1))
    assert (measurement.n, measurement.unit) == (50, "accuracy")
    assert measurement.ci95 == pytest.approx((p - half, p + half))


def test_other_aggregates_have_a_bootstrap_interval(tmp_path, tokenizer):
    """A geometric mean of likelihoods: the delta method gives its standard error, perplexity · sd / sqrt(n)."""
    documents = [{"question": "It was", "options": [word], "answer": 0} for word in "abcdefghijklmnopqrst"]
    write_tasks(tmp_path, documents, likelihood=KINDS["likelihood"])
    model = llama()
    torch.nn.init.normal_(model.lm_head.weight, std=0.05)
    tasks = LmEvalTasks(["likelihood"], include_path=[tmp_path])
    measurement = tasks.evaluate(Subject(model=model, tokenizer=tokenizer))["likelihood"]
    scores = np.array([instance.resps[0][0] for (instance,) in tasks._documents["likelihood"]])
    stderr = measurement.value * scores.std(ddof=1) / math.sqrt(len(scores))
    assert measurement.ci95[1] - measurement.value == pytest.approx(1.96 * stderr, rel=0.2)


def test_a_single_document_has_no_interval(tokenizer):
    tasks = LmEvalTasks(["minimal_pairs_passive"], limit=1)
    measurement = tasks.evaluate(Subject(model=llama(), tokenizer=tokenizer))["minimal_pairs_passive"]
    assert (measurement.n, measurement.ci95) == (1, None)


def test_a_group_aggregates_as_lm_eval_does(tmp_path, tokenizer, monkeypatch):
    group = {"group": "both", "task": ["choice", "no_context"], "aggregate_metric_list": [{"metric": "acc"}]}
    write_tasks(tmp_path, choice=CHOICE, no_context=KINDS["no_context"], both=group)
    model = llama()
    measurements = LmEvalTasks(["both"], include_path=[tmp_path]).evaluate(Subject(model=model, tokenizer=tokenizer))
    expected = reference(tmp_path, ["both"], model, tokenizer, monkeypatch)["results"]["both"]
    assert measurements["both"].value == pytest.approx(expected["acc,none"])
    assert measurements["both"].ci95[1] == pytest.approx(expected["acc,none"] + 1.96 * expected["acc_stderr,none"])
    assert measurements["both"] == measurements["lm_eval/both/acc"]
    assert measurements["both"].n == 2 * len(QUESTIONS)
    assert {"lm_eval/choice/acc", "lm_eval/no_context/acc"} <= measurements.keys()


def test_a_tag_or_a_group_without_aggregates_stands_for_its_tasks(tmp_path, tokenizer):
    group = {"group": "plain", "task": ["choice", "no_context"]}
    tagged = {name: KINDS[name] | {"tag": "questions"} for name in ("choice", "no_context")}
    write_tasks(tmp_path, plain=group, **tagged)
    subject = Subject(model=llama(), tokenizer=tokenizer)
    results = [
        LmEvalTasks(names, include_path=[tmp_path]).evaluate(subject)[main]
        for names, main in ((["plain"], "plain"), (["questions"], "questions"), (["choice", "no_context"], "lm_eval"))
    ]
    assert results[0] == results[1] == results[2]


def test_few_shot_examples_can_be_asked_for(tmp_path):
    write_tasks(tmp_path, few_shot=KINDS["few_shot"], choice=CHOICE, none=CHOICE | {"num_fewshot": 0})

    def prompt(name: str, num_fewshot: int | None) -> str:
        tasks = LmEvalTasks([name], include_path=[tmp_path], num_fewshot=num_fewshot)
        return tasks._documents[name][0][0].args[0]

    assert prompt("few_shot", None).count("?") == 3
    assert prompt("few_shot", 1).count("?") == 2
    assert prompt("choice", None).count("?") == 1
    assert prompt("none", 2).count("?") == 1


def test_the_average_of_scores():
    scores = [Score(value=0.5, stderr=0.03, n=10), Score(value=0.7, stderr=0.04, n=30)]
    assert average(scores) == Score(value=0.6, stderr=0.025, n=40)
    assert average([*scores, Score(value=0.6, stderr=None, n=1)]).stderr is None


def test_requests_are_prepared_once_for_a_tokenizer(tokenizer, monkeypatch):
    tasks = LmEvalTasks(["minimal_pairs_passive"], limit=4)
    first = tasks.evaluate(Subject(model=llama(), tokenizer=tokenizer))
    monkeypatch.setattr(evaluator, "encode", None)
    tasks.evaluate(Subject(model=llama(seed=1), tokenizer=tokenizer))
    assert tasks.evaluate(Subject(model=llama(), tokenizer=tokenizer)) == first
    with pytest.raises(TypeError, match="not callable"):
        tasks.evaluate(Subject(model=llama(), tokenizer=AutoTokenizer.from_pretrained(BUNDLED_MODEL)))


def test_nothing_is_printed_fetched_or_left_behind(tmp_path, tokenizer, capfd, caplog, monkeypatch):
    write_tasks(tmp_path, rolling=KINDS["rolling"], generate=KINDS["generate"])
    monkeypatch.setattr("socket.socket.connect", None)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", "/proc/no such folder")
    random.seed(3)
    state, numpy_state, folder = random.getstate(), np.random.get_state()[1].copy(), sorted(tmp_path.iterdir())
    tasks = LmEvalTasks(["minimal_pairs", "generate"], limit=2, include_path=[tmp_path])
    tasks.evaluate(Subject(model=llama(), tokenizer=tokenizer))
    LmEvalTasks(["rolling"], include_path=[tmp_path]).evaluate(Subject(model=llama(), tokenizer=tokenizer))
    assert random.getstate() == state
    assert (np.random.get_state()[1] == numpy_state).all()
    assert sorted(tmp_path.iterdir()) == folder
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert [record for record in caplog.records if record.name.startswith("lm_eval")] == []


def test_data_files_are_relative_to_their_yaml(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    files = {"plain": "questions.jsonl", "listed": ["questions.jsonl"], "split": {"test": "./questions.jsonl"}}
    files["absolute"] = str(tmp_path / "tasks" / "questions.jsonl")
    split = {name: "test" if name == "split" else "train" for name in files}
    write_tasks(
        tmp_path / "tasks",
        **{
            name: CHOICE | {"dataset_kwargs": {"data_files": data_files}, "test_split": split[name]}
            for name, data_files in files.items()
        },
    )
    monkeypatch.chdir(tmp_path)
    tasks = LmEvalTasks(list(files), include_path=["tasks"])
    assert [len(tasks._documents[name]) for name in files] == [len(QUESTIONS)] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"num_fewshot": -1}, "num_fewshot must be at least 0, got -1"),
        ({"batch_tokens": 0}, "batch_tokens must be at least 1, got 0"),
        ({"include_path": ["no/such/folder"]}, "include_path must name folders .* got .*no/such/folder"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(EvaluationError, match=message):
        LmEvalTasks(["minimal_pairs"], **options)


def test_no_task_is_refused():
    with pytest.raises(EvaluationError, match="at least one lm-eval task, got none"):
        LmEvalTasks([])


@pytest.mark.slow
def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(EvaluationError, match=r"got 'minimal_pair'; the nearest are minimal_pairs"):
        LmEvalTasks(["minimal_pair"])


def refuse_network(*args, **kwargs):
    raise ConnectionError("Couldn't reach the Hub")


@pytest.mark.slow
def test_a_task_of_lm_eval_without_network_is_refused(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", refuse_network)
    with pytest.raises(EvaluationError, match=r"data of task 'lambada_openai' must be downloaded once, .* local YAML"):
        LmEvalTasks(["lambada_openai"])


@pytest.mark.slow
def test_a_local_group_may_refer_to_tasks_of_lm_eval(tmp_path, monkeypatch):
    write_tasks(tmp_path, mixed={"group": "mixed", "task": [{"task": "lambada_openai"}]})
    monkeypatch.setattr("datasets.load_dataset", refuse_network)
    with pytest.raises(EvaluationError, match="data of task 'mixed' must be downloaded once"):
        LmEvalTasks(["mixed"], include_path=[tmp_path])


def test_an_unreadable_yaml_is_refused(tmp_path):
    write_tasks(tmp_path, good=CHOICE)
    (tmp_path / "bad.yaml").write_text("task: [unclosed\n")
    with pytest.raises(EvaluationError, match=r"The task file .*bad\.yaml cannot be read"):
        LmEvalTasks(["good"], include_path=[tmp_path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_split": "nowhere"}, "Task 'task' cannot be set up: .*nowhere.*; mend its YAML"),
        ({"dataset_kwargs": {"data_files": "missing.jsonl"}}, "Task 'task' cannot be set up: .*missing.jsonl"),
        ({"dataset_kwargs": {"data_files": {"test": "empty.jsonl"}}}, "must have examples, and 'task' has none"),
        ({"unsafe_code": True}, "Tasks that run code written by the model.* not supported, got 'task'"),
    ],
)
def test_a_task_that_cannot_be_set_up_is_refused(change, message, tmp_path):
    write_tasks(tmp_path, task=CHOICE | change)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(EvaluationError, match=message):
        LmEvalTasks(["task"], include_path=[tmp_path])


def test_tasks_of_both_directions_are_refused(tmp_path):
    write_tasks(tmp_path, choice=CHOICE, rolling=KINDS["rolling"])
    with pytest.raises(EvaluationError, match="all be better high or all be better low, got 'rolling'"):
        LmEvalTasks(["choice", "rolling"], include_path=[tmp_path])


def test_different_metrics_have_a_common_unit(tmp_path):
    write_tasks(tmp_path, choice=CHOICE, norm=KINDS["norm"], generate=KINDS["generate"])
    assert LmEvalTasks(["choice", "norm"], include_path=[tmp_path]).unit == "accuracy"
    assert LmEvalTasks(["generate"], include_path=[tmp_path]).unit == "exact_match"
    assert LmEvalTasks(["choice", "generate"], include_path=[tmp_path]).unit == "score"


def test_a_missing_tokenizer_is_refused():
    with pytest.raises(EvaluationError, match="need a tokenizer, got none"):
        LmEvalTasks(["minimal_pairs_passive"], limit=1).evaluate(Subject(model=llama()))


def test_an_encoder_is_refused(tokenizer):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    encoder = BertForMaskedLM(BertConfig(vocab_size=4096, **sizes)).eval()
    with pytest.raises(EvaluationError, match="need a causal language model, got BertForMaskedLM"):
        LmEvalTasks(["minimal_pairs_passive"], limit=1).evaluate(Subject(model=encoder, tokenizer=tokenizer))


def test_log_likelihoods_that_are_not_finite_are_refused(tokenizer):
    model = llama()
    torch.nn.init.constant_(model.model.norm.weight, math.nan)
    with pytest.raises(EvaluationError, match="must be finite, got NaN or infinity for 4 of 4 requests"):
        LmEvalTasks(["minimal_pairs_passive"], limit=2).evaluate(Subject(model=model, tokenizer=tokenizer))


def test_a_score_that_is_not_finite_is_refused(tmp_path, tokenizer):
    write_tasks(tmp_path, rolling=KINDS["rolling"])
    model = llama()
    torch.nn.init.constant_(model.model.norm.weight, math.nan)
    with pytest.raises(EvaluationError, match="score of a task must be finite, got byte_perplexity = nan"):
        LmEvalTasks(["rolling"], include_path=[tmp_path]).evaluate(Subject(model=model, tokenizer=tokenizer))


def test_a_task_without_its_first_metric_is_refused(tmp_path, tokenizer):
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("exact_match", "acc")]
    process = "def only_acc(document, results):\n    return {'acc': 1.0}\n"
    (tmp_path / "judge.py").write_text(process)
    write_tasks(tmp_path, custom=CHOICE | {"metric_list": metrics})
    with (tmp_path / "custom.yaml").open("a") as file:
        file.write("process_results: !function judge.only_acc\n")
    with pytest.raises(
        EvaluationError, match="must return the first metric of its metric_list, 'exact_match', got acc"
    ):
        LmEvalTasks(["custom"], include_path=[tmp_path]).evaluate(Subject(model=llama(), tokenizer=tokenizer))


@pytest.mark.parametrize("continuation", [[], [1] * 65])
def test_continuations_that_do_not_fit_are_refused(continuation):
    with pytest.raises(EvaluationError, match=f"from 1 to 64 tokens.* got {len(continuation)};"):
        plan([([1], continuation)], max_length=64, batch_tokens=8, device=torch.device("cpu"))
