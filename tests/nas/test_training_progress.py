import io

from rich.console import Console

from nas.finetuning import Step
from nas.training_progress import TrainingProgress


def test_twenty_lines_in_a_log() -> None:
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture, TrainingProgress(console) as progress:
        for number in range(1, 206):
            progress(Step(number=number, num_steps=205, loss=1.0))
    lines = capture.get().splitlines()
    assert len(lines) == 19
    assert lines[0] == "step 11/205 loss 1"
    assert lines[-1] == "step 205/205 loss 1"
