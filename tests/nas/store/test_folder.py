from pathlib import Path

from nas.run_directory import RunDirectory
from nas.store.folder import FolderStore


def test_trainings_lie_in_the_run(tmp_path: Path) -> None:
    with FolderStore.open(RunDirectory(tmp_path)) as store:
        place = store.places.of("grain-5")
    assert place.checkpoint == tmp_path / "trainings" / "grain-5.pt"
    assert place.scalars == tmp_path / "tensorboard" / "grain-5"
