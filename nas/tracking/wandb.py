"""Weights & Biases as tracker: one run a search, whose id is the search's.

Online, a search that is taken up again goes on in the same run. Offline, where nothing can be asked, each process
writes a folder of the same id that holds all trials from the first: of several such folders the newest is the one to
sync.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from nas.results import Results
from nas.tracking.base import Ending, EndState, Standing, TrackedSearch, best_of
from nas.tracking.errors import TrackingError, missing_package

INIT_S = 20.0
FINISH_S = 20.0
FILES = "search"
"""The folder of a run's files that ours are in: wandb writes a ``config.yaml`` of its own beside it."""


class WandbTracker:
    """Logs a run.

    Args:
        project: Where the run belongs.
        entity: Whose project; wandb's default where none is given.
        mode: ``online`` or ``offline``; ``WANDB_MODE``, or online, where none is given.
        folder: Where runs are kept on this machine, in ``wandb``; ``WANDB_DIR``, or here, where none is given.

    Raises:
        TrackingError: wandb is not installed.
    """

    HARMLESS = frozenset({"project"})
    VARIABLES = ("WANDB_API_KEY", "WANDB_MODE")

    def __init__(
        self,
        *,
        project: str = "nas",
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
        folder: str | None = None,
    ) -> None:
        # Before the import, which reads it; nothing that a person has set is changed.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError as error:
            raise missing_package("wandb") from error
        self._wandb = wandb
        self._project = project
        self._entity = entity
        self._mode = mode or os.environ.get("WANDB_MODE") or "online"
        self._folder = folder
        self._run: Any = None

    def begin(self, search: TrackedSearch) -> int:
        """Starts the run, or goes on with the one that there is.

        Raises:
            TrackingError: There is no key for the server, or the environment turns wandb off.
        """
        if self._mode not in ("online", "offline"):
            raise TrackingError(f"WANDB_MODE must be online or offline, got {self._mode!r}; or give the option mode.")
        if self._mode == "online" and not self._wandb.login(prompt=False):
            raise TrackingError(
                "Weights & Biases must know whose run it is, and there is no key; set WANDB_API_KEY, run "
                "`wandb login`, or give mode: offline."
            )
        self._run = self._wandb.init(
            id=search.id,
            name=search.name,
            resume=None if self._mode == "offline" else "allow",
            project=self._project,
            entity=self._entity,
            mode="offline" if self._mode == "offline" else "online",
            dir=self._folder,
            config={**search.settings(), "environment": dict(search.environment)},
            tags=_tags(search),
            settings=self._settings(),
        )
        return int(self._run.starting_step)

    def add(self, standing: Standing) -> None:
        """Logs a trial as a row of the run's history."""
        trial = standing.trial
        row = {**standing.readings(), "trial": trial.number, "source": trial.source, "state": str(trial.state)}
        self._run.log(row, step=trial.number, commit=True)

    def end(self, ending: Ending) -> None:
        """Writes the summary, adds the run's files, and waits for them to be sent."""
        if ending.results is not None:
            self._conclude(ending.results)
        self._run.summary.update({"search_state": str(ending.state), "search_reason": ending.reason})
        folder = Path(self._run.dir) / FILES
        folder.mkdir(exist_ok=True)
        for path in ending.files():
            shutil.copyfile(path, folder / path.name)
            self._run.save(str(folder / path.name), base_path=self._run.dir, policy="now")
        self._run.finish(exit_code=0 if ending.state is EndState.COMPLETE else 1)

    def _settings(self) -> Any:
        """Nothing on the console, nothing about this machine but what the search tells, and no waiting for ever."""
        return self._wandb.Settings(
            silent=True,
            console="off",
            reinit="create_new",
            allow_val_change=True,  # of the environment, where another machine goes on
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            init_timeout=INIT_S,
            finish_timeout=FINISH_S,
            finish_timeout_raises=True,
            stop_fn=_nothing,
        )

    def _conclude(self, results: Results) -> None:
        front = results.front()
        names = [objective.name for objective in results.goal.objectives]
        table = self._wandb.Table(
            columns=["trial", "source", *names],
            data=[[one.number, one.source, *(one.measurements[name].value for name in names)] for one in front],
        )
        self._run.log({"front": table}, step=len(results.trials), commit=True)
        confirmed = {"hypervolume": float(results.record["hypervolume"]), **best_of(front, results.goal)}
        self._run.summary.update(confirmed)


def _tags(search: TrackedSearch) -> list[str]:
    """Of at most 64 characters, as wandb asks."""
    labels = search.labels()
    return [labels[key][:64] for key in ("nas.model", "nas.device") if key in labels]


def _nothing() -> None:
    """What the server's stop button does: a search listens to no tracker."""
