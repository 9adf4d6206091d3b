"""The `nas` command: reads arguments, calls the parts, prints what they return. No logic of its own.

torch and the frameworks take seconds to import, so each command imports what it needs; `nas --help` stays instant.
"""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from nas.errors import describe_error

app = typer.Typer(
    name="nas",
    help="Neural architecture search for sub-networks of pre-trained transformers.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130
"""What typer makes of Ctrl-C."""
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="`bundled`, a Hugging Face id, or a folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[str, typer.Option(help="auto (the checkpoint's own), float32, bfloat16 or float16.")]
TrustOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Options before the command."""
    if version:
        print(metadata.version("nas-llm"))
        raise typer.Exit
    del debug  # read by main(), which must know it even when the arguments cannot be parsed


@app.command()
def search(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A search config, see configs/.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/<name>-<time>.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config, such as trials=10; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
) -> None:
    """Run a search here, with progress."""
    from nas.commands.search import run_search

    run_search(config, out=out, overrides=overrides or [], resume=resume, console=_console())


@app.command()
def prune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A search config, see configs/.")],
    pruner: Annotated[str, typer.Option(metavar="NAME", help="The method, such as fisher or kcm.")],
    maximum: Annotated[
        str, typer.Option("--max", metavar="NAME=VALUE", help="flops=0.5x, parameters=4M or latency=0.6x.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/<name>-<pruner>-<time>.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config, such as recovery.type=mask_tuning."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prune to one budget by one method, without a search."""
    from nas.commands.prune import run_prune
    from nas.tables import comparison_table

    run = run_prune(config, pruner=pruner, budget=maximum, out=out, overrides=overrides or [], console=_console())
    if as_json:
        _print_json(run.trials[1].to_json())
    else:
        Console().print(comparison_table(run, run.trials[1], title=f"{pruner}, {maximum}"))
        print(f"Export it: nas export {run.directory.path} 1 --to huggingface --out exports/{run.directory.path.name}")


@app.command()
def front(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show the Pareto front."""
    from nas.run import Run
    from nas.tables import trials_table

    opened = Run.open(run)
    if as_json:
        _print_json(opened.record)
    else:
        title = f"Pareto front: {len(opened.front())} of {len(opened.trials)} trials"
        Console().print(trials_table(opened, opened.front(), title=title))


@app.command()
def trials(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show every trial with its state."""
    from nas.run import Run
    from nas.tables import trials_table

    opened = Run.open(run)
    if as_json:
        _print_json([trial.to_json() for trial in opened.trials])
    else:
        Console().print(trials_table(opened, opened.trials, title=f"{len(opened.trials)} trials"))


@app.command()
def pick(
    run: RunArgument,
    maxima: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="NAME=VALUE", help="At most: latency=4.1ms, latency=0.6x; repeatable."),
    ] = None,
    minima: Annotated[
        list[str] | None, typer.Option("--min", metavar="NAME=VALUE", help="At least: minimal_pairs=0.8; repeatable.")
    ] = None,
    best: Annotated[
        str | None, typer.Option(metavar="NAME", help="Best in this; default: the first objective.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pick the best trial within budgets."""
    from nas.pick import pick as pick_trial
    from nas.run import Run
    from nas.tables import trials_table

    opened = Run.open(run)
    budgets = [("max", text) for text in maxima or []] + [("min", text) for text in minima or []]
    trial = pick_trial(opened, budgets=budgets, best=best)  # type: ignore[arg-type]
    if as_json:
        _print_json(trial.to_json())
    else:
        Console().print(trials_table(opened, [trial], title=f"Trial {trial.number}"))
        print(f"Export it: nas export {run} {trial.number} --to huggingface --out exports/trial-{trial.number}")


@app.command()
def export(
    run: RunArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="A trial's number.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    to: Annotated[str, typer.Option(help="Runtime: huggingface.")] = "huggingface",
) -> None:
    """Write a trial's model for a runtime, and check it there."""
    from nas.commands.export import export_trial

    export_trial(run, trial, target=to, folder=out, console=_console())


@app.command()
def measure(
    model: ModelArgument,
    workload: Annotated[str, typer.Option(help="prefill, decode or encode.")] = "decode",
    batch_size: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    context_tokens: Annotated[int, typer.Option(help="Length of each sequence.")] = 128,
    max_s: Annotated[float, typer.Option(help="Seconds of repeats at most.")] = 10.0,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency, memory, parameters and FLOPs of any model."""
    from nas.commands.model import evaluate_model, latency_parts

    parts = latency_parts(workload, batch_size=batch_size, context_tokens=context_tokens, max_s=max_s)
    _print_measurements(
        evaluate_model(model, parts, dtype=dtype, device=device, trust_remote_code=trust_remote_code), as_json
    )


@app.command()
def evaluate(
    model: ModelArgument,
    tasks: Annotated[str, typer.Option(help="lm-eval tasks, comma-separated.")] = "minimal_pairs",
    include_path: Annotated[list[Path] | None, typer.Option(help="Folder with lm-eval YAML files of your own.")] = None,
    limit: Annotated[int | None, typer.Option(help="Documents of each task.")] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score any model on lm-eval tasks."""
    from nas.commands.model import evaluate_model, task_parts

    parts = task_parts(tasks, include_path=include_path or [], limit=limit)
    _print_measurements(
        evaluate_model(model, parts, dtype=dtype, device=device, trust_remote_code=trust_remote_code), as_json
    )


@app.command()
def finetune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A fine-tuning config, see configs/finetune_*.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config, such as epochs=1; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a pre-trained encoder on a task, into a model that a search can take."""
    from nas.commands.finetune import run_finetuning

    run_finetuning(config, out=out, overrides=overrides or [], as_json=as_json, console=_console())


@app.command()
def report(run: RunArgument) -> None:
    """Write the HTML report and its figures into the run's folder."""
    from nas.run import Run

    files = Run.open(run).write_report()
    print(f"Report: {files.html}")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, and say what to fix before measuring on it."""
    from nas.doctor import diagnose, render

    checks = diagnose()
    if as_json:
        _print_json([check.to_json() for check in checks])
    else:
        render(checks, Console())
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: one plain sentence for every error, and the exit code that goes with it."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(args=[argument for argument in arguments if argument != "--debug"])
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        sentence, exit_code = describe_error(KeyboardInterrupt())
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(exit_code)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        sentence, exit_code = describe_error(error)
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(exit_code)


def _console() -> Console:
    """Progress goes to standard error, so that standard output holds results alone."""
    return Console(stderr=True)


def _print_json(record: Any) -> None:
    print(json.dumps(record, indent=2))


def _print_measurements(measurements: Any, as_json: bool) -> None:
    from nas.tables import measurements_table

    if as_json:
        _print_json({name: measurement.to_json() for name, measurement in measurements.items()})
    else:
        Console().print(measurements_table(measurements))
