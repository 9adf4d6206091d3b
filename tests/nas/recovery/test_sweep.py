"""The least squares of every sublayer, against full forward passes that the sweep knows nothing of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import GPTNeoXForCausalLM, OPTForCausalLM, PreTrainedModel

from evaluators.inputs import Batch
from nas.recovery.base import Problem, RecoveryError
from nas.recovery.mask_tuning import mask_tuning, tuned_weights
from nas.recovery.refit import refit, refitted_weights
from nas.recovery.sweep import sweep
from nas.supernet.families import Unit
from nas.supernet.layout import input_block, output_blocks
from nas.supernet.output_weights import SUBLAYER_NAMES, OutputWeights, SublayerName, sublayer_of
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.recovery.problems import batches_of
from tests.nas.supernet.test_supernet import candidates, logits_of, random_ranking
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)


def post_norm_opt() -> PreTrainedModel:
    """As OPT-350m is."""
    config = TINY_MODELS["opt"][1]()
    config.do_layer_norm_before = False
    return _with_weights_of("opt", OPTForCausalLM(config))


def sequential_gpt_neox() -> PreTrainedModel:
    config = TINY_MODELS["gpt_neox"][1]()
    config.use_parallel_residual = False
    return _with_weights_of("gpt_neox", GPTNeoXForCausalLM(config))


def _with_weights_of(name: str, model: PreTrainedModel) -> PreTrainedModel:
    weights = tiny_model(name).state_dict()
    model.load_state_dict({key: value for key, value in weights.items() if key in model.state_dict()}, strict=False)
    return model


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    **{name: partial(tiny_model, name) for name in TINY_MODELS},
    "opt_post_norm": post_norm_opt,
    "gpt_neox_sequential": sequential_gpt_neox,
}
STREAMS: dict[str, dict[SublayerName, str]] = {
    "bert": {"attention": "in attention.output.LayerNorm", "mlp": "in output.LayerNorm"},
    "roberta": {"attention": "in attention.output.LayerNorm", "mlp": "in output.LayerNorm"},
    "distilbert": {"attention": "in sa_layer_norm", "mlp": "in output_layer_norm"},
    "opt": {"attention": "in final_layer_norm", "mlp": "out "},
    "opt_post_norm": {"attention": "in self_attn_layer_norm", "mlp": "in final_layer_norm"},
    "gpt2": {"attention": "in ln_2", "mlp": "out "},
    "gpt_neox": {"mlp": "out "},  # the two sublayers are added at once
    "gemma2": {"attention": "out self_attn.o_proj", "mlp": "out mlp.down_proj"},
    "gemma3_text": {"attention": "out self_attn.o_proj", "mlp": "out mlp.down_proj"},
}
PRE_NORM: dict[SublayerName, str] = {"attention": "in post_attention_layernorm", "mlp": "out "}
"""Where the sum shows that a sublayer should get right: the input or the output of a module of the layer."""


@contextmanager
def recording(layer: nn.Module, places: list[str]) -> Iterator[dict[str, Tensor]]:
    """What goes through the places of a layer, ``(tokens, features)`` each."""
    seen: dict[str, Tensor] = {}

    def watch(place: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            tensor = inputs[0] if place.startswith("in ") else output
            seen[place] = tensor.reshape(-1, tensor.shape[-1]).double()

        return hook

    with ExitStack() as stack:
        for place in places:
            module = layer.get_submodule(place.partition(" ")[2])
            stack.callback(module.register_forward_hook(watch(place)).remove)
        yield seen


def thinned(supernet: Supernet, seed: int = 0) -> SubNetwork:
    """Every layer keeps half of its KV groups and a quarter of its neurons, at random."""
    shape = supernet.shape
    return random_ranking(shape, np.random.default_rng(seed)).keep_best(
        shape,
        kv_groups_L=np.full(shape.num_layers, shape.num_kv_groups // 2),
        heads_per_group_L=np.full(shape.num_layers, shape.heads_per_group),
        neurons_L=np.full(shape.num_layers, shape.num_neurons // 4),
    )


def correlations(
    name: str,
    supernet: Supernet,
    sub_network: SubNetwork,
    weights: OutputWeights,
    batches: list[Batch],
    full: SubNetwork | None = None,
) -> dict[tuple[int, SublayerName], float]:
    """How much, sublayer by sublayer, the features could still explain of what the student's stream lacks.

    At the least-squares solution what is missing is orthogonal to the features. The unit is the stream itself.
    """
    ids = torch.cat([batch.inputs["input_ids"] for batch in batches])
    streams, result = STREAMS.get(name, PRE_NORM), {}
    for index, layer in enumerate(supernet.layers):
        for sublayer, place in streams.items():
            entrance = f"in {sublayer_of(supernet.family, sublayer).output}"
            with (
                supernet.activate(full or SubNetwork.full(supernet.shape)) as model,
                recording(layer, [place]) as teacher,
            ):
                logits_of(model, ids)
            with supernet.activate(sub_network, weights) as model, recording(layer, [entrance, place]) as student:
                logits_of(model, ids)
            missing, features = teacher[place] - student[place], student[entrance]
            result[index, sublayer] = ((missing.T @ features).norm() / (teacher[place].norm() * features.norm())).item()
    return result


@pytest.mark.parametrize("name", MODELS)
def test_what_the_stream_lacks_after_a_refit_is_orthogonal_to_the_features(name: str) -> None:
    supernet, batches = Supernet(MODELS[name]()), batches_of()
    sub_network = thinned(supernet)
    weights = refit(supernet, sub_network, batches, damping=1e-5)
    before = correlations(name, supernet, sub_network, OutputWeights(), batches)
    after = correlations(name, supernet, sub_network, weights, batches)
    assert min(before.values()) > 0.02
    assert max(after.values()) < 5e-5


def three_quarters(supernet: Supernet, of: SubNetwork) -> SubNetwork:
    """All heads, and half of the neurons that ``of`` removes beside its own."""
    neurons_LN = of.neurons_LN.copy()
    for kept_N in neurons_LN:
        removed = np.flatnonzero(~kept_N)
        kept_N[removed[::2]] = True
    return SubNetwork(shape=supernet.shape, heads_LH=np.ones_like(of.heads_LH), neurons_LN=neurons_LN)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_smaller_teacher_is_what_the_stream_comes_near_to(name: str) -> None:
    supernet, batches = Supernet(MODELS[name]()), batches_of()
    sub_network = thinned(supernet)
    teacher = three_quarters(supernet, sub_network)
    solve = partial(refitted_weights, damping=1e-5)
    weights = sweep(supernet, sub_network, batches, solve, teacher=teacher)
    assert max(correlations(name, supernet, sub_network, weights, batches, teacher).values()) < 5e-5
    assert max(correlations(name, supernet, sub_network, weights, batches).values()) > 1e-2


@pytest.mark.parametrize("name", TINY_MODELS)
def test_a_student_that_equals_its_teacher_keeps_its_weights(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    sub_network = thinned(supernet)
    weights = mask_tuning(supernet, sub_network, batches_of(), teacher=sub_network)
    with supernet.activate(sub_network) as model:
        expected = logits_of(model, token_ids())
    with supernet.activate(sub_network, weights) as model:
        torch.testing.assert_close(logits_of(model, token_ids()), expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_without_a_sublayer_that_is_to_be_recovered_is_refused() -> None:
    supernet = Supernet(tiny_model("llama"))
    teacher = SubNetwork.full(supernet.shape)
    neurons_LN = teacher.neurons_LN.copy()
    neurons_LN[1] = False
    lacking = SubNetwork(shape=supernet.shape, heads_LH=teacher.heads_LH, neurons_LN=neurons_LN)
    with pytest.raises(RecoveryError, match="got none for the MLP of layer 1"):
        mask_tuning(supernet, thinned(supernet), batches_of(), teacher=lacking)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_teacher_and_a_student_may_both_lack_a_layer(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    sub_network = thinned(supernet)
    heads_LH, neurons_LN = sub_network.heads_LH.copy(), sub_network.neurons_LN.copy()
    heads_LH[1], neurons_LN[1] = False, False
    shallow = SubNetwork(shape=supernet.shape, heads_LH=heads_LH, neurons_LN=neurons_LN)
    weights = mask_tuning(supernet, shallow, batches_of(), teacher=shallow)
    with supernet.activate(shallow) as model:
        expected = logits_of(model, token_ids())
    with supernet.activate(shallow, weights) as model:
        torch.testing.assert_close(logits_of(model, token_ids()), expected, rtol=1e-4, atol=1e-5)


def with_twins(supernet: Supernet) -> SubNetwork:
    """Makes the last half of the units of every layer copies of the first half, and keeps the first half.

    What the model computes is then twice what each kept unit adds.
    """
    shape, half = supernet.shape, {}
    for unit, count in (
        (Unit.QUERY_HEAD, shape.num_heads),
        (Unit.KV_HEAD, shape.num_kv_groups),
        (Unit.NEURON, shape.num_neurons),
    ):
        half[unit] = np.arange(count // 2)
    for layer in supernet.layers:
        for sublayer in (supernet.family.attention, supernet.family.mlp):
            for projection in sublayer.projections:
                module = layer.get_submodule(projection.path)
                weight, is_conv = module.get_parameter("weight"), type(module).__name__ == "Conv1D"
                for block in output_blocks(projection, shape):
                    first, second = (
                        block.features(half[block.unit] + shift * len(half[block.unit])) for shift in (0, 1)
                    )
                    bias = module._parameters.get("bias")
                    for tensor in (weight.T if is_conv else weight, *([] if bias is None else [bias])):
                        tensor.data[second] = tensor.data[first]
                if (block_in := input_block(projection, shape)) is not None:
                    first, second = (
                        block_in.features(half[block_in.unit] + shift * len(half[block_in.unit])) for shift in (0, 1)
                    )
                    columns = weight.T if is_conv else weight
                    columns.data[:, second] = columns.data[:, first]
    heads_LH = np.zeros((shape.num_layers, shape.num_heads), dtype=np.bool_)
    neurons_LN = np.zeros((shape.num_layers, shape.num_neurons), dtype=np.bool_)
    heads_LH[:, : shape.num_heads // 2] = True
    neurons_LN[:, : shape.num_neurons // 2] = True
    return SubNetwork(shape=shape, heads_LH=heads_LH, neurons_LN=neurons_LN)


@pytest.mark.parametrize("recover", [mask_tuning, refit], ids=["mask_tuning", "refit"])
@pytest.mark.parametrize("name", MODELS)
def test_units_that_have_a_twin_stand_in_for_it(name: str, recover: Callable[..., OutputWeights]) -> None:
    """The answer is known: twice the weights, and the full model's logits."""
    supernet, batches = Supernet(MODELS[name]()), batches_of()
    sub_network, ids = with_twins(supernet), batches[0].inputs["input_ids"]
    expected = logits_of(supernet.model, ids)
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(1)))
    weights = recover(supernet, sub_network, batches, damping=1e-5)
    with supernet.activate(sub_network) as model:  # Gemma's norm behind the sublayer takes the factor out by itself
        assert (logits_of(model, ids) - expected).norm() > (0 if "gemma" in name else 0.02) * expected.norm()
    with supernet.activate(sub_network, weights) as model:
        assert (logits_of(model, ids) - expected).norm() < 5e-3 * expected.norm()


@families
def test_with_nothing_pruned_nothing_changes(name: str) -> None:
    supernet, batches = Supernet(tiny_model(name)), batches_of()
    full = SubNetwork.full(supernet.shape)
    present = sweep(supernet, full, batches, lambda problem: problem.weight_DS)
    for solve in (partial(tuned_weights, damping=1e-3), partial(refitted_weights, damping=1e-2)):
        weights = sweep(supernet, full, batches, solve)
        for sublayer in SUBLAYER_NAMES:
            for index in range(supernet.shape.num_layers):
                actual, expected = weights.of(sublayer)[index], present.of(sublayer)[index]
                assert (actual - expected).norm() < 1e-3 * expected.norm()


@families
def test_the_residual_of_every_sublayer_is_no_larger_than_before(name: str) -> None:
    supernet, batches = Supernet(tiny_model(name)), batches_of()
    for sub_network in candidates(supernet.shape)[-4:]:
        for solver in (partial(tuned_weights, damping=1e-3), partial(refitted_weights, damping=1e-2)):
            gains: list[float] = []

            def solve(problem: Problem, solver: Callable[[Problem], Tensor] = solver) -> Tensor:
                def error(weight_DS: Tensor) -> float:
                    """‖b - W X‖² but for ‖b‖², which no weights change."""
                    fit = (weight_DS @ problem.gram_SS * weight_DS).sum()
                    return (fit - 2 * (problem.cross_DS * weight_DS).sum()).item()

                solved = solver(problem)
                gains.append((error(problem.weight_DS) - error(solved)) / problem.cross_DS.norm().item())  # noqa: B023
                return solved

            sweep(supernet, sub_network, batches, solve)
            assert len(gains) == sum(map(bool, sub_network.num_heads)) + sum(map(bool, sub_network.num_neurons))
            assert min(gains) >= -1e-9
            assert max(gains) > 1e-3


@families
def test_padding_does_not_matter(name: str) -> None:
    """Columns of padding to the right, and a real token there would have changed the result."""
    supernet, batches = Supernet(tiny_model(name)), batches_of()
    sub_network = thinned(supernet)
    expected = refit(supernet, sub_network, batches)
    padded = [pad(batch, num_columns=5) for batch in batches]
    actual = refit(supernet, sub_network, padded)
    unmasked = refit(supernet, sub_network, [Batch(inputs={"input_ids": one.inputs["input_ids"]}) for one in padded])
    for sublayer in SUBLAYER_NAMES:
        for index, weight_DS in expected.of(sublayer).items():
            torch.testing.assert_close(actual.of(sublayer)[index], weight_DS, rtol=1e-2, atol=1e-3)
            assert not torch.allclose(unmasked.of(sublayer)[index], weight_DS, rtol=1e-2, atol=1e-3)


def pad(batch: Batch, *, num_columns: int) -> Batch:
    ids_BT = batch.inputs["input_ids"]
    padding = torch.zeros(len(ids_BT), num_columns, dtype=torch.int64)
    mask_BT = torch.cat([torch.ones_like(ids_BT), padding], dim=1)
    return Batch(inputs={"input_ids": torch.cat([ids_BT, padding], dim=1), "attention_mask": mask_BT})


@families
def test_the_order_of_the_supernet_does_not_matter(name: str) -> None:
    supernet, batches = Supernet(tiny_model(name)), batches_of()
    sub_network = thinned(supernet)
    expected = refit(supernet, sub_network, batches)
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(2)))
    actual = refit(supernet, sub_network, batches)
    for sublayer in SUBLAYER_NAMES:
        for index, weight_DS in expected.of(sublayer).items():
            torch.testing.assert_close(actual.of(sublayer)[index], weight_DS, rtol=1e-2, atol=1e-3)


def test_a_sublayer_that_cannot_be_solved_leaves_the_rest_tuned() -> None:
    supernet, batches = Supernet(tiny_model("llama")), batches_of()
    sub_network = thinned(supernet)
    calls: list[Problem] = []

    def solve(problem: Problem) -> Tensor:
        calls.append(problem)
        out_of_range = len(calls) == 3  # the attention of layer 1
        cross_DS = problem.weight_DS @ problem.gram_SS * 1e3 if out_of_range else problem.cross_DS
        return tuned_weights(
            Problem(
                gram_SS=problem.gram_SS,
                cross_DS=cross_DS,
                weight_DS=problem.weight_DS,
                unit_width=problem.unit_width,
            ),
            damping=1e-3,
        )

    weights = sweep(supernet, sub_network, batches, solve)
    present = sweep(supernet, sub_network, batches, lambda problem: problem.weight_DS)
    unchanged = {
        (sublayer, index)
        for sublayer in SUBLAYER_NAMES
        for index, weight_DS in weights.of(sublayer).items()
        if torch.equal(weight_DS, present.of(sublayer)[index])
    }
    assert unchanged == {("attention", 1)}


def test_weights_that_the_dtype_of_the_model_cannot_hold_are_left_out() -> None:
    supernet, batches = Supernet(tiny_model("llama").half()), batches_of()
    calls: list[Problem] = []

    def solve(problem: Problem) -> Tensor:
        calls.append(problem)
        return problem.weight_DS * (1e6 if len(calls) == 2 else 1.0)

    weights = sweep(supernet, SubNetwork.full(supernet.shape), batches, solve)
    assert set(weights.attention) == {0, 1, 2, 3}
    assert set(weights.mlp) == {1, 2, 3}


def test_problems_say_what_they_are_about() -> None:
    """And nothing of padding is in them."""
    supernet = Supernet(tiny_model("qwen3"))
    sub_network = thinned(supernet)

    def problems_of(batches: Sequence[Batch]) -> list[Problem]:
        problems: list[Problem] = []

        def solve(problem: Problem) -> Tensor:
            problems.append(problem)
            return problem.weight_DS

        sweep(supernet, sub_network, batches, solve)
        return problems

    problems = problems_of([pad(batch, num_columns=3) for batch in batches_of()])
    assert len(problems) == 8
    for padded, plain in zip(problems, problems_of(batches_of()), strict=True):
        torch.testing.assert_close(padded.gram_SS, plain.gram_SS, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(padded.cross_DS, plain.cross_DS, rtol=1e-4, atol=1e-4)
    assert [problem.unit_width for problem in problems] == [8, 1] * 4
    assert [tuple(problem.weight_DS.shape) for problem in problems] == [(32, 32), (32, 6)] * 4
    for problem in problems:
        assert {problem.gram_SS.dtype, problem.cross_DS.dtype, problem.weight_DS.dtype} == {torch.float64}


def test_without_residual_the_target_is_what_the_full_sublayer_adds() -> None:
    """So the stream may well lack what the features could give, but the projection's own output does not."""
    supernet, batches = Supernet(tiny_model("opt")), batches_of()
    sub_network = thinned(supernet)
    weights = refit(supernet, sub_network, batches, damping=1e-5, residual=False)
    ids = torch.cat([batch.inputs["input_ids"] for batch in batches])
    for layer in supernet.layers:
        with recording(layer, ["out fc2"]) as teacher:
            logits_of(supernet.model, ids)
        with supernet.activate(sub_network, weights) as model, recording(layer, ["in fc2", "out fc2"]) as student:
            logits_of(model, ids)
        missing, features = teacher["out fc2"] - student["out fc2"], student["in fc2"]
        assert (missing.T @ features).norm() < 2e-4 * missing.norm() * features.norm()
    assert max(correlations("opt", supernet, sub_network, weights, batches).values()) > 0.005


def test_the_supernet_is_left_as_it_was_and_may_be_active() -> None:
    supernet, batches, ids = Supernet(tiny_model("llama")), batches_of(), token_ids()
    sub_network = thinned(supernet)
    expected = refit(supernet, sub_network, batches)
    before = logits_of(supernet.model, ids)
    with supernet.activate(candidates(supernet.shape)[-1]) as model:
        inside = logits_of(model, ids)
        actual = refit(supernet, sub_network, batches)
        assert torch.equal(logits_of(model, ids), inside)
    assert torch.equal(logits_of(supernet.model, ids), before)
    assert all(torch.equal(actual.mlp[index], weight_DS) for index, weight_DS in expected.mlp.items())
    hooks = [module for module in supernet.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not hooks


def test_without_batches_nothing_can_be_recovered() -> None:
    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(RecoveryError, match="needs at least one batch of calibration examples, got none"):
        sweep(supernet, SubNetwork.full(supernet.shape), [], lambda problem: problem.weight_DS)
