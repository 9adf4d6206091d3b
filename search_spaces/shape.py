"""The dimensions of a supernet that a search space chooses from."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One weight matrix that every layer has, and that may be factorised.

    Attributes:
        name: The last part of its path, such as ``q_proj``, or the whole path where two of a layer end alike.
        sublayer: ``attention`` or ``mlp``.
        num_outputs: Rows.
        num_inputs: Columns.
    """

    name: str
    sublayer: str
    num_outputs: int
    num_inputs: int

    @property
    def break_even_rank(self) -> int:
        """The largest rank at which two factors have no more weights than the matrix: r (m + n) <= m n."""
        return self.num_outputs * self.num_inputs // (self.num_outputs + self.num_inputs)

    @property
    def full_rank(self) -> int:
        """The rank at which factors lose nothing."""
        return min(self.num_outputs, self.num_inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetShape:
    """How many units each layer of a transformer has.

    Counts use Hugging Face's meaning: ``num_heads`` is ``num_attention_heads``, ``num_kv_groups`` is
    ``num_key_value_heads``, ``num_neurons`` is ``intermediate_size``.

    Attributes:
        num_layers: Transformer blocks.
        num_heads: Query heads in each layer.
        num_kv_groups: KV heads in each layer; each serves ``heads_per_group`` query heads.
        num_neurons: Intermediate units of each layer's MLP.
        head_dim: Width of one head.
        hidden_size: Width of the residual stream.
        required_attention: Layers whose attention must stay, because the runtime reads the length of the KV
            cache from them: the first layer, and the first of each attention type (sliding, full).
        rotary_dims: How many of a head's first dimensions are rotated by position, in pairs (i, i + rotary_dims / 2);
            0 for models with learnt positions. No part of equality: records of older versions lack it.
        matrices: What may be factorised, attention first; empty where nobody asked. No part of equality either.
        whole_queries: Whether queries and keys must keep all their dimensions, because they are normalised over the
            whole head: without some of them the norm would be another. No part of equality either.
        vocab_size: Tokens of the embedding, where it may be factorised; 0 where it may not. No part of equality either.
    """

    num_layers: int
    num_heads: int
    num_kv_groups: int
    num_neurons: int
    head_dim: int
    hidden_size: int
    required_attention: tuple[int, ...] = (0,)
    rotary_dims: int = field(default=0, compare=False)
    matrices: tuple[Matrix, ...] = field(default=(), compare=False)
    whole_queries: bool = field(default=False, compare=False)
    vocab_size: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_heads", "num_kv_groups", "num_neurons", "head_dim", "hidden_size"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {count}.")
        if self.num_heads % self.num_kv_groups:
            raise ValueError(
                f"num_heads must be a multiple of num_kv_groups={self.num_kv_groups}, got {self.num_heads}; "
                f"choose {self.num_heads - self.num_heads % self.num_kv_groups}."
            )
        if 0 not in self.required_attention or not set(self.required_attention) <= set(range(self.num_layers)):
            raise ValueError(
                f"required_attention must hold layer 0 and only layers below {self.num_layers}, "
                f"got {self.required_attention}."
            )

    @property
    def heads_per_group(self) -> int:
        """Query heads that share one KV head."""
        return self.num_heads // self.num_kv_groups

    @property
    def num_query_units(self) -> int:
        """What a head's query and key can lose one by one: pairs of dimensions rotated together, and single ones."""
        return self.head_dim - self.rotary_dims // 2

    def query_dims_of(self, unit: int) -> tuple[int, ...]:
        """The dimensions of a query unit: first come the pairs, by their first dimension, then the single ones."""
        half = self.rotary_dims // 2
        return (unit, unit + half) if unit < half else (unit + half,)
