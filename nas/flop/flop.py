"""FLOP: structured pruning of low-rank factors (Wang, Wohlwend, Lei, arXiv:1910.04732).

Every matrix becomes two factors with a gate for each direction between them. Gates and weights are trained together
under a constraint on the weights that remain, then the gates are settled and folded into the factors, and the weights
are trained on.

Where we differ: factors come from SVD of the pre-trained matrices, whitened by activations, and begin at full rank, so
nothing is lost before training; gates begin in the order of what their directions are worth to the loss; the constraint
counts a matrix above break-even as the one product that it goes back to; the last steps train what was settled;
embeddings are left as they are unless ``embedding_bands`` is set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from evaluators.inputs import Batch
from nas.accelerating import accelerator_for
from nas.flop.bands import bands_at, fold_bands, put_band_gates, sizes_of_bands
from nas.flop.budget import Gated, Multipliers, expected_share, least_share, settled_ranks, share_at
from nas.flop.config import FlopConfig, FlopError
from nas.flop.layers import fold, put_gates
from nas.flop.training import Loop, OnStep, loss_of
from nas.long_work.checkpoint import fingerprint, fingerprint_of_examples
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.supernet.low_rank.energies import Place
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.low_rank import with_ranks
from search_spaces.sub_network import SubNetwork

_SHIFT = "shift_of_gates"
"""The name of a parameter that a model has while its gates are trained."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flopped:
    """What came of it.

    Attributes:
        sub_network: A rank for each matrix, and for each band of the embedding; all units stay.
        weights: Its own, float32.
        kept: Share of the weights of the matrices, and of the embedding where it was pruned.
        losses: One a step.
    """

    sub_network: SubNetwork
    weights: OwnWeights
    kept: float
    losses: tuple[float, ...]


def flop(
    supernet: Supernet,
    batches: Sequence[Batch],
    config: FlopConfig,
    *,
    on_step: OnStep = lambda _: None,
    place: TrainingPlace = NOWHERE,
) -> Flopped:
    """Prunes and trains a copy of the supernet; the supernet stays as it is.

    The same arguments on the same machine and versions give the same weights, and so does a run that was cut short and
    taken up from its checkpoint (on a CPU). torch's global generator is left as it was.

    Args:
        supernet: With any order of its units.
        batches: To train on, an encoder's labelled; a decoder without labels learns the next token.
        config: How much to keep, how long and how fast.
        on_step: Called after every step; what it raises ends the run as a crash would.
        place: Where the run keeps its checkpoint, and goes on from it; and its scalars.

    Raises:
        FlopError: No batch, an encoder's without labels, a target below rank 1 everywhere, bands that the model cannot
            have, or too many losses in a row that are not finite.
        AcceleratorError: A precision or a device that cannot be trained in.
        CheckpointError: A checkpoint of another run, or no room for one.
        TrainingStoppedError: The run was asked to stop.
        ScalarsError: Scalars are asked for, and the package for them is not installed.
    """
    accelerator = _accelerator(supernet, batches, config)
    sizes = sizes_of_bands(supernet.shape, config.embedding_bands)

    def belongs_to() -> dict[str, Any]:
        return {
            "method": "flop",
            "model": fingerprint(supernet.model),
            "examples": fingerprint_of_examples({**batch.inputs, **batch.labels} for batch in batches),
            **config.decisive,
        }

    with (
        torch.random.fork_rng(range(torch.cuda.device_count())),
        torch.enable_grad(),
        place.session(every=config.checkpoint_every, belongs_to=belongs_to) as session,
    ):
        model: Any = supernet.extract(SubNetwork.full(supernet.shape)).float().requires_grad_().to(accelerator.device)
        layers = list(model.base_model.get_submodule(supernet.family.layers).children())
        sorting = [batch.to(accelerator.device) for batch in batches[: config.num_whitening_batches]]
        linear = put_gates(model, layers, supernet.family, supernet.shape, sorting, lambda batch: loss_of(model, batch))
        bands = put_band_gates(model, sizes, batches)
        gated: dict[Place, Gated] = {**linear, **bands}
        if config.keep < (least := least_share(gated)):
            raise FlopError(
                f"keep must be at least the share of weights at rank 1, which is {least:.4f} for this model, got "
                f"{config.keep}; raise it."
            )
        loop = Loop(batches, config, accelerator, on_step, session)
        _train_gates(model, list(gated.values()), config, loop)
        settled = loop.once("ranks", lambda: list(settled_ranks(gated, config.keep).values()))
        ranks = dict(zip(gated, settled, strict=True))
        fold(layers, linear, ranks)
        fold_bands(model, bands, ranks)
        kept = share_at(gated, ranks)
        loop.train(model, num_steps=config.num_settled_steps, after=lambda: (kept, config.keep))
    return Flopped(
        sub_network=replace(_sub_network(supernet, ranks), bands=bands_at(sizes, ranks)),
        weights=OwnWeights.of(model.cpu()),
        kept=kept,
        losses=tuple(loop.losses),
    )


def train_sub_network(
    supernet: Supernet,
    sub_network: SubNetwork,
    batches: Sequence[Batch],
    config: FlopConfig,
    *,
    on_step: OnStep = lambda _: None,
) -> OwnWeights:
    """The same training for a sub-network that is fixed: what FLOP is to be compared with.

    Args:
        supernet: What the weights begin as.
        sub_network: Any of its.
        batches: As for ``flop``.
        config: Steps and rates; what it says of gates and of how much to keep is not looked at.
        on_step: Called after every step.

    Raises:
        FlopError, AcceleratorError: As for ``flop``.
    """
    accelerator = _accelerator(supernet, batches, config)
    with (
        torch.random.fork_rng(range(torch.cuda.device_count())),
        torch.enable_grad(),
        NOWHERE.session(every=config.checkpoint_every, belongs_to=dict) as session,
    ):
        model: Any = supernet.extract(sub_network).float().requires_grad_().to(accelerator.device)
        loop = Loop(batches, config, accelerator, on_step, session)
        loop.train(model, num_steps=config.num_steps, after=lambda: (1.0, 1.0))
    return OwnWeights.of(model.cpu())


def _accelerator(supernet: Supernet, batches: Sequence[Batch], config: FlopConfig) -> Accelerator:
    if not batches:
        raise FlopError("FLOP must have a batch to train on, got none; give a longer text or more examples.")
    has_head = supernet.model.base_model is not supernet.model
    if has_head and not supernet.predicts_tokens and not all(batch.labels for batch in batches):
        raise FlopError(
            "FLOP learns a task's labels, got examples without; give importance.examples, and set "
            "importance.labels to true."
        )
    return accelerator_for(config.device, config.mixed_precision)


def _train_gates(model: Any, gated: Sequence[Gated], config: FlopConfig, loop: Loop) -> None:
    generator = torch.Generator()
    multipliers = Multipliers(curvature=config.curvature)
    # All gates sink with the target by one shift, which does not change their order; that is learnt more slowly. By
    # their own gradients alone the highest would stay (their open probability is flat), and noise reorder the others.
    shift = torch.nn.Parameter(gated[0].logits.new_zeros(()))
    model.register_parameter(_SHIFT, shift)
    first = expected_share(gated).item()

    def target() -> float:
        """Sinks linearly to what is to be kept."""
        return first + (config.keep - first) * min(1.0, loop.number / config.num_warmup_steps)

    def draw() -> None:
        generator.manual_seed(loop.noise_seed())
        for one in gated:
            one.draw(generator, shift)

    def ascend() -> tuple[float, float]:
        share = expected_share(gated, shift).item()
        multipliers.ascend(share, target(), config.multiplier_learning_rate)
        return share, target()

    loop.train(
        model,
        num_steps=config.num_gated_steps,
        gates=[
            ([one.logits for one in gated], config.gate_learning / config.num_warmup_steps),
            ([shift], config.gate_travel / config.num_warmup_steps),
        ],
        before=draw,
        penalty=lambda: multipliers.penalty(expected_share(gated, shift), target()),
        after=ascend,
        multipliers=multipliers,
    )
    delattr(model, _SHIFT)
    for one in gated:
        one.logits.data.add_(shift.detach())


def _sub_network(supernet: Supernet, ranks: dict[Place, int]) -> SubNetwork:
    paths = [projection.path for projection in supernet.family.projections]
    layers = range(supernet.shape.num_layers)
    return with_ranks(supernet.shape, np.array([[ranks[layer, path] for path in paths] for layer in layers]))
