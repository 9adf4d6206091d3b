"""What a training does besides its steps: it goes on from where it was, keeps its state, and tells of itself."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.long_work.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from nas.long_work.scalars import Record, tensorboard_scalars
from nas.long_work.stopping import GO_ON, end_step, never

_BELONGS_TO, _STATE = "belongs_to", "state"


def untold() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlace:
    """Where a training keeps its state and its scalars, and who may ask it to stop; by default nowhere and nobody.

    Attributes:
        checkpoint: A file to go on from where it exists, and that is written meanwhile. It is there afterwards:
            whoever keeps the result removes it.
        scalars: A folder for TensorBoard.
        must_stop: Asked after every step; True ends the training, with a checkpoint where there is a place for one.
        how_to_go_on: What to do after that, for people.
        on_checkpoint: Called whenever the checkpoint has been written, and is whole. What it raises ends the training
            as a request to stop does, and is best of that kind: others may be taken for the training's own failure.
    """

    checkpoint: Path | None = None
    scalars: Path | None = None
    must_stop: Callable[[], bool] = never
    how_to_go_on: str = GO_ON
    on_checkpoint: Callable[[], None] = untold

    def with_scalars(self, is_asked: bool) -> "TrainingPlace":
        """The same, without room for scalars where they are not asked for."""
        return self if is_asked else replace(self, scalars=None)

    @contextmanager
    def session(self, *, every: int, belongs_to: Callable[[], Mapping[str, Any]]) -> Iterator["Session"]:
        """Opens what a training needs of it.

        Args:
            every: Steps between two checkpoints.
            belongs_to: What its result depends on, in numbers, texts, lists and dicts; asked where it is needed only.

        Raises:
            ScalarsError: Scalars are asked for, and the package for them is not installed.
        """
        known = {} if self.checkpoint is None else dict(belongs_to())
        with nullcontext() if self.scalars is None else tensorboard_scalars(self.scalars) as record:
            yield Session(self, every=every, belongs_to=known, record=record)


NOWHERE = TrainingPlace()
"""No checkpoint, no scalars, and nobody who asks to stop."""


class Session:
    """A training's dealings with its place; ``TrainingPlace.session`` makes it."""

    def __init__(
        self,
        place: TrainingPlace,
        *,
        every: int,
        belongs_to: Mapping[str, Any],
        record: Record | None,
    ) -> None:
        self._place, self._every, self._belongs_to, self._record = place, every, belongs_to, record

    @property
    def path(self) -> Path:
        """Of the checkpoint, for messages."""
        return self._place.checkpoint or Path()

    def restore(self, apply: Callable[[Mapping[str, Any]], None]) -> None:
        """Goes on from the checkpoint, where there is one.

        Args:
            apply: Takes over a state that an earlier process gave to ``end_step``.

        Raises:
            CheckpointError: It is damaged, or of a training that depended on something else.
        """
        if self._place.checkpoint is not None and self._place.checkpoint.exists():
            state = _state_of(self._place.checkpoint, self._belongs_to)
            with self.explaining():
                apply(state)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Takes errors inside the block, which takes over a state, for those of the checkpoint.

        Raises:
            CheckpointError: In place of what was raised.
        """
        try:
            yield
        except CheckpointError:
            raise
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"A checkpoint must hold the state of the training that goes on from it, but {self.path} does not "
                f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}); remove it to begin that "
                "training anew."
            ) from error

    def end_step(
        self, number: int, num_steps: int, *, state: Callable[[], Mapping[str, Any]], scalars: Mapping[str, float]
    ) -> None:
        """Records scalars, saves where that is due, and ends the training where it was asked to.

        Args:
            number: Steps done.
            num_steps: Steps in all.
            state: From which another process can go on, in tensors, numbers, texts, lists and dicts.
            scalars: By name; those that are not finite are left out.

        Raises:
            CheckpointError: There is no room.
            TrainingStoppedError: It was asked to stop.
        """
        if self._record is not None:
            self._record(number, {name: value for name, value in scalars.items() if math.isfinite(value)})
        path = self._place.checkpoint

        def save() -> None:
            assert path is not None
            write_checkpoint(path, {_BELONGS_TO: self._belongs_to, _STATE: dict(state())})
            self._place.on_checkpoint()

        end_step(
            number,
            num_steps,
            every=self._every,
            must_stop=self._place.must_stop,
            save=None if path is None else save,
            kept_in=self.path.parent,
            how_to_go_on=self._place.how_to_go_on,
        )


def _state_of(path: Path, belongs_to: Mapping[str, Any]) -> Mapping[str, Any]:
    record = read_checkpoint(path)
    before, state = record.get(_BELONGS_TO), record.get(_STATE)
    if not isinstance(before, dict) or not isinstance(state, dict):
        raise CheckpointError(
            f"{path} must be a checkpoint of a training in a run, but it is of something else; remove it to begin that "
            "training anew."
        )
    changed = sorted(key for key in {*before, *belongs_to} if before.get(key) != belongs_to.get(key))
    if changed:
        raise CheckpointError(
            f"A training goes on with what it began with, but by {path} {changed[0]!r} was {before.get(changed[0])} "
            f"and is now {belongs_to.get(changed[0])}; undo the change, or remove that file to begin the training anew."
        )
    return state
