"""What a training will train, read and need, before any weight is loaded.

Bytes of a process, the model in float32 and AdamW with two moments:

    weights 4 N · gradients 4 M · moments 8 M · activations of one pass · logits

for N parameters of which M are trained. What autograd keeps of a layer for a token, with attention that does not
write its scores (arXiv:2205.14135), is taken to be 8 D + 4 H + 4 K + 4 F numbers for the hidden size D, the widths
H and K of queries and of keys or values, and F neurons, of two bytes in mixed precision and of four without. Of the
logits there are five copies at once (raw, in float32, log-probabilities, two gradients), and the teacher's. An
estimate, to be out by tens of percent: allocators, kernels and frameworks take their own.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from nas.supernet.families import Family, Sublayer
from nas.supernet_training.config import TrainSupernetConfig
from nas.supernet_training.lora import norm_parameters
from search_spaces.shape import SupernetShape

NUM_LOGITS = 5
"""Copies of a pass's logits at once, besides the teacher's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a training will come to.

    Attributes:
        num_parameters: Of the supernet, tied ones once.
        num_trained: Of these, or of the adapters beside them.
        num_steps: In all.
        num_passes: Forward and backward passes, each through a sub-network.
        num_tokens: Read by each process, counted once a step; of examples, whose lengths are not known here, None.
        weights_bytes: Of the supernet in float32, of adapters, and of the copy that teaches.
        optimizer_bytes: Gradients and moments.
        activations_bytes: Kept for the backward pass through the supernet.
        logits_bytes: Of the largest pass and its teacher; 0 for encoders, whose heads are small.
    """

    num_parameters: int
    num_trained: int
    num_steps: int
    num_passes: int
    num_tokens: int | None
    weights_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything at once."""
        return self.weights_bytes + self.optimizer_bytes + self.activations_bytes + self.logits_bytes


def estimate(model: PreTrainedModel, family: Family, shape: SupernetShape, config: TrainSupernetConfig) -> Estimate:
    """Reckons what a training will come to.

    Args:
        model: Of the right shapes; it may lie on the meta device.
        family: Its adapter.
        shape: Its shape.
        config: The training's.
    """
    model_config: Any = model.config
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    num_trained = num_parameters
    if config.lora is not None:
        layers = model.base_model.get_submodule(family.layers).children()
        num_trained = sum(
            config.lora.rank * sum(layer.get_submodule(path).get_parameter("weight").shape)
            for layer in layers
            for path in _paths(family)
        )
        if config.lora.norms:
            num_trained += sum(module.get_parameter(name).numel() for module, name in norm_parameters(model))
    tokens = config.batch_size * config.sequence_tokens
    of_number = 4 if config.mixed_precision == "no" else 2
    of_token = (
        8 * shape.hidden_size
        + 4 * shape.num_heads * shape.head_dim
        + 4 * shape.num_kv_groups * shape.head_dim
        + 4 * shape.num_neurons
    )
    adapters = 0 if config.lora is None else num_trained
    classes = model_config.vocab_size if family.is_decoder else 0
    taught = 0 if config.distillation.type == "none" else min(3 * (config.distillation.top_k or classes), classes)
    copies = config.distillation.teacher == "original" and config.lora is None
    steps = config.steps * config.gradient_accumulation
    return Estimate(
        num_parameters=num_parameters,
        num_trained=num_trained,
        num_steps=config.steps,
        num_passes=steps * config.passes,
        num_tokens=steps * tokens if config.examples is None else None,
        weights_bytes=4 * (num_parameters * (2 if copies else 1) + adapters),
        optimizer_bytes=12 * num_trained,
        activations_bytes=tokens * shape.num_layers * of_token * of_number,
        logits_bytes=4 * tokens * (NUM_LOGITS * classes + taught),
    )


def _paths(family: Family) -> list[str]:
    sublayers: tuple[Sublayer, ...] = (family.attention, family.mlp)
    return [projection.path for sublayer in sublayers for projection in sublayer.projections]
