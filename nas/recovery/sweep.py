"""Solving the least squares of every sublayer, from the first layer to the last.

In each layer the attention comes first and then, with its new weights, the MLP. What a sublayer of the pruned model
(the student) reads is what the sublayers before it, pruned and recovered, hand on; what it should add is measured
against the full model (the teacher). So errors do not pile up: a later sublayer makes good what earlier ones missed.

With s the residual stream before the sublayer, a what the teacher's output projection gives and β its bias, the
target of the kept units is

    b = (s_teacher + a) - s_student - β,

the form of arXiv:2204.09656 (residuals included); ``residual=False`` takes b = a - β. In a post-norm layer (BERT) the
sums are those before the norm. Where a norm stands behind the sublayer (Gemma), what is added is no linear function
of the units, and b = a - β in any case.

The teacher is the full model, or any sub-network that keeps what the student keeps a part of: the public code of
arXiv:2204.09656 takes the one at the square root of the budget (compared in docs/methods/fisher.md).

A teacher and a student go through the supernet's own layers side by side, so that all takes about five forward
passes, however many layers there are. Their hidden states for all batches, and for one layer the two targets, lie on
the model's device: 12 × hidden_size × tokens bytes for a model in bfloat16, 16 in float32; beside them the sums of
one sublayer and what solving them takes, a few times 8 × S² bytes. Products are taken in float32, of some
thousand tokens at once, and summed in float64.

Legend: B batch, T tokens, R real tokens (padding left out), D hidden_size, S features of the kept units.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.inputs import Batch
from nas.recovery.base import Problem, RecoveryError, Solver
from nas.supernet.families import Family
from nas.supernet.importance.recording import output_weight
from nas.supernet.output_weights import SUBLAYER_NAMES, OutputWeights, SublayerName, sublayer_of
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

ROWS_AT_ONCE = 2048
"""Tokens of which one product is taken."""


@torch.no_grad()
def sweep(
    supernet: Supernet,
    sub_network: SubNetwork,
    batches: Sequence[Batch],
    solve: Solver,
    *,
    sublayers: Sequence[SublayerName] = SUBLAYER_NAMES,
    residual: bool = True,
    teacher: SubNetwork | None = None,
) -> OutputWeights:
    """New output weights for every kept sublayer.

    Args:
        supernet: Left as it was.
        sub_network: Of its shape.
        batches: Calibration examples; labels are not looked at.
        solve: Gives the weights of one sublayer.
        sublayers: Which to solve for; the others keep the supernet's weights.
        residual: Whether a sublayer makes good what the residual stream lacks already.
        teacher: What the student should come near to; None for the full model.

    Returns:
        Weights in the model's dtype; none for a sublayer where they are not finite in it.

    Raises:
        RecoveryError: There is no batch, or the teacher lacks a sublayer that the sub-network keeps.
    """
    if not batches:
        raise RecoveryError("A recovery needs at least one batch of calibration examples, got none; give some text.")
    guide = SubNetwork.full(supernet.shape) if teacher is None else teacher
    _require_all_sublayers(guide, sub_network)
    with supernet.activate(SubNetwork.full(supernet.shape)):
        calls = [_first_call(supernet, batch) for batch in batches]
        layers = _layers(supernet, residual=residual)
    taught = [call.hidden_BTD for call in calls]
    student = list(taught)
    found: dict[SublayerName, dict[int, Tensor]] = {name: {} for name in SUBLAYER_NAMES}
    for layer in layers:
        if layer.index in guide.kept_layers:
            own = _alone(guide, layer.index)
            with supernet.activate(own):
                taught, aims = layer.teach(calls, taught, own)
        if layer.index not in sub_network.kept_layers:
            continue
        alone = _alone(sub_network, layer.index)
        weights = OutputWeights()
        for name in (name for name in SUBLAYER_NAMES if name in sublayers and name in layer.kept(alone)):
            positions_S = supernet.feature_positions(alone, layer.index, name)
            with supernet.activate(alone, weights):
                problem = layer.problem(name, calls, student, aims, alone, positions_S)
                dtype = layer.projection(name).get_parameter("weight").dtype
            weight_DS = solve(problem).to(dtype)
            if bool(weight_DS.isfinite().all()):  # a number may fit float64 and not float16
                found[name][layer.index] = weight_DS
            weights = OutputWeights(**{name: _only(found[name], layer.index) for name in SUBLAYER_NAMES})
        with supernet.activate(alone, weights):
            student = [layer.run(call, hidden_BTD) for call, hidden_BTD in zip(calls, student, strict=True)]
    return OutputWeights(attention=found["attention"], mlp=found["mlp"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """How the model calls its layers for one batch.

    Attributes:
        hidden_BTD: What the first layer reads.
        arguments: For each layer what it gets beside that, by position and by name.
        tokens_BT: False = padding.
    """

    hidden_BTD: Tensor
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]]
    tokens_BT: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reading:
    """What one layer did with the real tokens of one batch, by sublayer.

    Attributes:
        output_BTD: What it hands on, padding included.
        features: ``(R, F)``, the input of the output projection.
        added: ``(R, D)`` float32, its output.
        stream: ``(R, D)`` float32, the residual stream that this is added to.
    """

    output_BTD: Tensor
    features: dict[SublayerName, Tensor]
    added: dict[SublayerName, Tensor]
    stream: dict[SublayerName, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """One layer of the supernet, computing whatever is active.

    Attributes:
        index: Its number.
        module: The layer.
        family: The supernet's adapter.
        residual: As ``sweep`` takes it.
        post_norm: Whether the MLP's residual is what the MLP reads, normalised already.
    """

    index: int
    module: nn.Module
    family: Family
    residual: bool
    post_norm: bool

    def projection(self, name: SublayerName) -> nn.Module:
        """The output projection of a kept sublayer."""
        return self.module.get_submodule(sublayer_of(self.family, name).output)

    def kept(self, sub_network: SubNetwork) -> list[SublayerName]:
        """Which of its sublayers are there."""
        counts: dict[SublayerName, tuple[int, ...]] = {
            "attention": sub_network.num_heads,
            "mlp": sub_network.num_neurons,
        }
        return [name for name, counts_L in counts.items() if counts_L[self.index]]

    def run(self, call: _Call, hidden_BTD: Tensor) -> Tensor:
        """``(B, T, D)``: what it hands on."""
        positional, named = call.arguments[self.index]
        output_BTD: Tensor = self.module(hidden_BTD, *positional, **named)
        return output_BTD

    def teach(
        self, calls: list[_Call], hidden: list[Tensor], teacher: SubNetwork
    ) -> tuple[list[Tensor], list[dict[SublayerName, Tensor]]]:
        """What the teacher's layer hands on, and where the residual stream should be after each sublayer, by batch."""
        outputs, aims = [], []
        for call, hidden_BTD in zip(calls, hidden, strict=True):
            reading = self._read(call, hidden_BTD, self.kept(teacher))
            outputs.append(reading.output_BTD)
            aims.append({name: added_RD + self._before(reading, name) for name, added_RD in reading.added.items()})
        return outputs, aims

    def problem(
        self,
        name: SublayerName,
        calls: list[_Call],
        hidden: list[Tensor],
        aims: list[dict[SublayerName, Tensor]],
        sub_network: SubNetwork,
        positions_S: Tensor,
    ) -> Problem:
        """The least squares of a sublayer of the active sub-network."""
        projection, sublayer = self.projection(name), sublayer_of(self.family, name)
        weight_DS = output_weight(self.module, sublayer).double()
        positions_S = positions_S.to(weight_DS.device)
        bias_D = projection._parameters.get("bias")
        cross_DS = torch.zeros_like(weight_DS)
        gram_SS = weight_DS.new_zeros(len(positions_S), len(positions_S))

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for call, hidden_BTD, aim in zip(calls, hidden, aims, strict=True):
                reading = self._read(call, hidden_BTD, self.kept(sub_network))
                yield reading.features[name][:, positions_S].float(), aim[name] - self._before(reading, name)

        for features_RS, target_RD in _gathered(pairs()):
            if bias_D is not None:
                target_RD = target_RD - bias_D.float()
            gram_SS += features_RS.T @ features_RS
            cross_DS += target_RD.T @ features_RS
        return Problem(
            gram_SS=gram_SS,
            cross_DS=cross_DS,
            weight_DS=weight_DS[:, positions_S],
            unit_width=sub_network.shape.head_dim if name == "attention" else 1,
        )

    def _before(self, reading: _Reading, name: SublayerName) -> Tensor | float:
        """The part of the target that the stream before the sublayer makes up for; 0 where that is left out."""
        sublayer = sublayer_of(self.family, name)
        return reading.stream[name] if self.residual and sublayer.addition == sublayer.output else 0.0

    def _read(self, call: _Call, hidden_BTD: Tensor, kept: Sequence[SublayerName]) -> _Reading:
        """Runs the layer and looks at the sublayers that are there."""
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}

        def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
                del module
                inputs[path], outputs[path] = args[0], output

            return hook

        def real(states: Tensor) -> Tensor:
            return states.reshape(-1, states.shape[-1])[call.tokens_BT.flatten().to(states.device)]

        paths: dict[SublayerName, str] = {name: sublayer_of(self.family, name).output for name in kept}
        first = self.family.mlp.projections[0].path
        with ExitStack() as stack:
            for path in {*paths.values(), *([first] if "mlp" in kept else [])}:
                stack.callback(self.module.get_submodule(path).register_forward_hook(watch(path)).remove)
            output_BTD = self.run(call, hidden_BTD)
        added = {name: real(outputs[path]).float() for name, path in paths.items()}
        stream: dict[SublayerName, Tensor] = {"attention": real(hidden_BTD).float()}
        if "mlp" in kept:
            # A parallel residual (GPT-NeoX) as well: which of the two is added first makes no difference to the sum.
            after_RD = stream["attention"] + added["attention"] if "attention" in kept else stream["attention"]
            stream["mlp"] = real(inputs[first]).float() if self.post_norm else after_RD
        features = {name: real(inputs[path]) for name, path in paths.items()}
        return _Reading(output_BTD=output_BTD, features=features, added=added, stream=stream)


def _gathered(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Short batches put together: adding up a product costs as much as hundreds of rows of it."""
    waiting: list[tuple[Tensor, Tensor]] = []
    for pair in pairs:
        waiting.append(pair)
        if sum(len(features_RS) for features_RS, _ in waiting) >= ROWS_AT_ONCE:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    features, targets = zip(*pairs, strict=True)
    return torch.cat(features), torch.cat(targets)


def _layers(supernet: Supernet, *, residual: bool) -> list[_Layer]:
    family = supernet.family
    # OPT has both kinds, and lists no norms for either.
    post_norm = not family.mlp.norms and not getattr(supernet.model.config, "do_layer_norm_before", False)
    return [
        _Layer(index=index, module=module, family=family, residual=residual, post_norm=post_norm)
        for index, module in enumerate(supernet.layers)
    ]


def _first_call(supernet: Supernet, batch: Batch) -> _Call:
    """Runs the model once and writes down how it calls its layers."""
    hidden: list[Tensor] = []
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        if not hidden:
            hidden.append(args[0])
        arguments.append((args[1:], kwargs))

    batch = batch.unlabelled.to(supernet.device)
    without_cache = {"use_cache": False} if supernet.family.is_decoder else {}
    with ExitStack() as stack:
        for layer in supernet.layers:
            stack.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
        supernet.model.base_model(**batch.inputs, **without_cache)
    return _Call(hidden_BTD=hidden[0], arguments=arguments, tokens_BT=batch.tokens_BT)


def _require_all_sublayers(teacher: SubNetwork, sub_network: SubNetwork) -> None:
    for name, has_LU, needs_LU in (
        ("attention", teacher.heads_LH, sub_network.heads_LH),
        ("MLP", teacher.neurons_LN, sub_network.neurons_LN),
    ):
        lacking = np.flatnonzero(needs_LU.any(axis=1) & ~has_LU.any(axis=1))
        if len(lacking):
            raise RecoveryError(
                f"A teacher must keep every sublayer that the sub-network keeps, got none for the {name} of layer "
                f"{lacking[0]}; take a larger teacher."
            )


def _alone(sub_network: SubNetwork, index: int) -> SubNetwork:
    """The one layer of the sub-network within the full model: to activate it, only its own units need be moved."""
    heads_LH, neurons_LN = np.ones_like(sub_network.heads_LH), np.ones_like(sub_network.neurons_LN)
    heads_LH[index], neurons_LN[index] = sub_network.heads_LH[index], sub_network.neurons_LN[index]
    return SubNetwork(shape=sub_network.shape, heads_LH=heads_LH, neurons_LN=neurons_LN)


def _only(weights: dict[int, Tensor], index: int) -> dict[int, Tensor]:
    return {index: weights[index]} if index in weights else {}
