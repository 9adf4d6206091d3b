"""The token embedding in bands: tokens of like frequency, whose rows share a rank.

A band of v tokens at rank r is a table of v by r and a projection of r by the width d, with r (v + d) weights in the
place of v d. Bands follow one another from the most frequent tokens to the rarest; which token is in which is for the
supernet to know. One band is the embedding factorisation of GRAIN (arXiv:2212.07634), several are the adaptive
embedding of FLOP (arXiv:1910.04732, after arXiv:1809.10853).
"""

from collections.abc import Sequence
from dataclasses import dataclass

GROWTH = 4
"""Each band is so many times as large as the one before it. Three of them hold 5, 19 and 76 % of the tokens; the
cutoffs of arXiv:1809.10853 leave 7, 15 and 77 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Tokens of like frequency.

    Attributes:
        num_tokens: How many.
        rank: Of their rows; 0 where they are not factorised.

    Raises:
        ValueError: No token, or a rank below 0.
    """

    num_tokens: int
    rank: int

    def __post_init__(self) -> None:
        if self.num_tokens < 1 or self.rank < 0:
            raise ValueError(f"A band must hold a token and have a rank of at least 0, got {self}.")

    def full_rank(self, width: int) -> int:
        """The rank at which factors lose nothing."""
        return min(self.num_tokens, width)

    def break_even_rank(self, width: int) -> int:
        """The largest rank at which two factors have no more weights than the rows: r (v + d) <= v d."""
        return self.num_tokens * width // (self.num_tokens + width)

    def held_rank(self, width: int) -> int:
        """The rank that a model holds: 0 where the rows are stored as they are, which from break-even on costs less."""
        return self.rank if self.rank * (self.num_tokens + width) < self.num_tokens * width else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BandWeights:
    """How many weights bands have.

    Attributes:
        tables: A row for each token, as wide as its band's rank, or the whole width.
        projections: From the ranks to the width.
    """

    tables: int
    projections: int

    @classmethod
    def of(cls, bands: Sequence[Band], width: int) -> "BandWeights":
        """Counts."""
        ranks = [(band.num_tokens, band.held_rank(width)) for band in bands]
        return cls(
            tables=sum(num_tokens * (rank or width) for num_tokens, rank in ranks),
            projections=sum(rank * width for _, rank in ranks),
        )

    @property
    def total(self) -> int:
        """Both."""
        return self.tables + self.projections


def band_sizes(vocab_size: int, num_bands: int) -> tuple[int, ...]:
    """How many tokens each of so many bands holds, each about ``GROWTH`` times as many as the one before.

    Raises:
        ValueError: More bands than leave two tokens to the first, or none.
    """
    parts = [GROWTH**number for number in range(num_bands)]
    if num_bands < 1 or vocab_size < 2 * sum(parts):
        most = 1
        while vocab_size >= 2 * sum(GROWTH**number for number in range(most + 1)):
            most += 1
        raise ValueError(
            f"The embedding of {vocab_size} tokens must be split into 1 to {most} bands, got {num_bands}; choose "
            f"{min(3, most)}."
        )
    ends = [vocab_size * sum(parts[: number + 1]) // sum(parts) for number in range(num_bands)]
    return tuple(end - start for start, end in zip([0, *ends[:-1]], ends, strict=True))
