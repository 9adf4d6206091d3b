"""Steps whose loss or gradient is infinite or NaN: they are skipped, counted, and after some in a row too many."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class BadSteps:
    """The count.

    Attributes:
        limit: So many in a row are too many.
        num_in_a_row: Up to the last step.
        num_skipped: In all.
    """

    limit: int
    num_in_a_row: int = 0
    num_skipped: int = 0

    def count(self, *, is_good: bool) -> bool:
        """Counts a step.

        Returns:
            Whether there are too many now.
        """
        self.num_in_a_row = 0 if is_good else self.num_in_a_row + 1
        self.num_skipped += not is_good
        return self.num_in_a_row >= self.limit
