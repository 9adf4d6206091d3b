from pathlib import Path

from nas.long_work.checkpoint import temporary_of
from nas.long_work.places import NO_PLACES, PlacesInFolders
from nas.long_work.session import NOWHERE


def test_each_training_has_a_file_and_a_folder_of_its_own(tmp_path: Path) -> None:
    places = PlacesInFolders(checkpoints=tmp_path / "c", scalars=tmp_path / "s", how_to_go_on="again")
    place = places.of("grain-5")
    assert (place.checkpoint, place.scalars) == (tmp_path / "c" / "grain-5.pt", tmp_path / "s" / "grain-5")
    assert place.how_to_go_on == "again"
    assert place.with_scalars(False).scalars is None
    assert place.with_scalars(True) is place


def test_what_is_forgotten_goes_with_what_a_dead_process_left_and_the_last_with_the_folder(tmp_path: Path) -> None:
    places, folder = PlacesInFolders(checkpoints=tmp_path / "c", scalars=tmp_path / "s"), tmp_path / "c"
    places.forget("never begun")
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.pt").touch()
    temporary_of(folder / "one.pt").touch()
    places.forget("one")
    assert [path.name for path in folder.iterdir()] == ["two.pt"]
    places.forget("two")
    assert not folder.exists()
    folder.mkdir()
    (folder / "three.pt").touch()
    places.forget_all()
    places.forget_all()
    assert not folder.exists()


def test_where_there_is_no_folder_there_is_nothing() -> None:
    assert NO_PLACES.of("one") is NOWHERE
    NO_PLACES.forget("one")
    NO_PLACES.forget_all()
