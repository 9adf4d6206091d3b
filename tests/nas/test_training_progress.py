import io

from rich.console import Console

from nas.finetuning import Step
from nas.supernet.training import TrainingStep
from nas.training_progress import TrainingProgress, TrainingsProgress


def test_twenty_lines_in_a_log() -> None:
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture, TrainingProgress(console) as progress:
        for number in range(1, 206):
            progress(Step(number=number, num_steps=205, loss=1.0))
    lines = capture.get().splitlines()
    assert len(lines) == 19
    assert lines[0] == "step 11/205 loss 1"
    assert lines[-1] == "step 205/205 loss 1"


def test_a_training_is_told_of_when_it_begins_and_when_it_ends() -> None:
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        progress = TrainingsProgress(console)
        on_step = progress.begins("Recovering trial 3")
        for number in (1, 2):
            on_step(TrainingStep(number=number, num_steps=2, loss=0.5))
        progress.ends("Recovering trial 3")
        progress.begins("Recovering trial 4")
        progress.ends("Recovering trial 4", problem="No score was bettered.")
    assert capture.get().splitlines() == [
        "Recovering trial 3",
        "Recovering trial 3: 2 of 2 steps, last loss 0.5",
        "Recovering trial 4",
        "Recovering trial 4: no step taken | No score was bettered.",
    ]


def test_a_training_that_breaks_off_leaves_the_terminal_whole() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    progress = TrainingsProgress(console)
    progress.breaks_off()
    progress.begins("Recovering trial 3")(TrainingStep(number=1, num_steps=2, loss=0.5))
    assert not progress.must_stop()
    progress.breaks_off()
    with console.status("another live display may begin"):
        pass
