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
ServerOption = Annotated[
    str | None, typer.Option(envvar="NAS_SERVER", help="Ask the service at this URL; RUN is then a search's id.")
]
ServiceOption = Annotated[str, typer.Option("--server", envvar="NAS_SERVER", help="The service's URL.")]
TokenOption = Annotated[str | None, typer.Option(envvar="NAS_TOKEN", help="For the service.")]
SearchArgument = Annotated[str, typer.Argument(metavar="ID", help="Of a search in the service.")]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", envvar="NAS_DATABASE_URL", help="sqlite:///… or postgresql://…")
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(envvar="NAS_ARTIFACTS", help="Folder or s3://… for exports; default: artifacts in --data."),
]
DataOption = Annotated[Path, typer.Option(envvar="NAS_DATA", help="Folder of the service; holds its SQLite database.")]
LeaseOption = Annotated[
    float, typer.Option("--lease", min=1.0, help="Seconds after which the work of a dead worker is taken up.")
]
LOCAL_SERVICE = "http://127.0.0.1:8000"
DATA = Path("nas-data")
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
    from nas.commands.search import conclude, run_search

    conclude(run_search(config, out=out, overrides=overrides or [], resume=resume, console=_console()))


@app.command()
def rerun(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, of an exported model, or a zip file of either.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the new run; default runs/<name>-<time>.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recorded search again, and say what agrees and what differs."""
    from nas.commands.rerun import findings_table
    from nas.commands.rerun import rerun as rerun_search

    findings = rerun_search(run, out=out, quiet=as_json, console=_console())
    if as_json:
        _print_json([finding.to_json() for finding in findings])
    else:
        Console().print(findings_table(findings))


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
    from nas.tables import comparison_table, print_table

    run = run_prune(config, pruner=pruner, budget=maximum, out=out, overrides=overrides or [], console=_console())
    if as_json:
        _print_json(run.trials[1].to_json())
    else:
        print_table(comparison_table(run, run.trials[1], title=f"{pruner}, {maximum}"))
        print(f"Export it: nas export {run.directory.path} 1 --to huggingface --out exports/{run.directory.path.name}")


@app.command()
def front(
    run: RunArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show the Pareto front."""
    from nas.tables import print_table, trials_table

    opened = _opened(run, server, token)
    if as_json:
        _print_json(opened.record)
    else:
        title = f"Pareto front: {len(opened.front())} of {len(opened.trials)} trials"
        print_table(trials_table(opened, opened.front(), title=title))


@app.command()
def trials(
    run: RunArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show every trial with its state, and why those failed that did."""
    from nas.tables import failures, print_table, trials_table

    opened = _opened(run, server, token)
    if as_json:
        _print_json([trial.to_json() for trial in opened.trials])
    else:
        print_table(trials_table(opened, opened.trials, title=f"{len(opened.trials)} trials"))
        for line in failures(opened.trials):
            print(line)


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
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Pick the best trial within budgets, or without any within the search's own."""
    from nas.pick import pick as pick_trial
    from nas.tables import print_table, trials_table

    opened = _opened(run, server, token)
    budgets = [("max", text) for text in maxima or []] + [("min", text) for text in minima or []]
    trial = pick_trial(opened, budgets=budgets, best=best)  # type: ignore[arg-type]
    if as_json:
        _print_json(trial.to_json())
    else:
        print_table(trials_table(opened, [trial], title=f"Trial {trial.number}"))
        where = f" --server {server}" if server else ""
        print(f"Export it: nas export {run} {trial.number}{where} --to huggingface --out exports/trial-{trial.number}")


@app.command()
def export(
    run: RunArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="A trial's number.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    to: Annotated[str, typer.Option(help="Runtime: huggingface.")] = "huggingface",
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Write a trial's model for a runtime, and check it there."""
    if server is None:
        from nas.commands.export import export_trial

        export_trial(run, trial, target=to, folder=out, console=_console())
        return
    from nas.commands.remote_files import fetch_export

    with _client(server, token) as client:
        fetch_export(client, str(run), trial, target=to, folder=out)


@app.command()
def measure(
    model: ModelArgument,
    workload: Annotated[str, typer.Option(help="prefill, decode or encode.")] = "decode",
    batch_size: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    context_tokens: Annotated[int, typer.Option(help="Length of each sequence.")] = 128,
    max_s: Annotated[float, typer.Option(help="Seconds of repeats at most.")] = 10.0,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Time it in alternation with this model: the ratio of the two.")
    ] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency, memory, parameters and FLOPs of any model."""
    from nas.commands.model import evaluate_model, latency_parts

    parts = latency_parts(workload, batch_size=batch_size, context_tokens=context_tokens, max_s=max_s)
    measured = evaluate_model(
        model, parts, dtype=dtype, device=device, trust_remote_code=trust_remote_code, against=against
    )
    _print_measurements(measured, as_json)


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


@app.command("train-supernet")
def train_supernet(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A supernet training config, see configs/train_supernet_*.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config, such as steps=10; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what it would train, read and need.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model so that its sub-networks are good as they are, into a supernet that a search can take."""
    from nas.commands.train_supernet import print_estimate, run_training

    if dry_run:
        print_estimate(config, overrides=overrides or [], as_json=as_json)
        return
    run_training(config, out=out, overrides=overrides or [], resume=resume, as_json=as_json, console=_console())


@app.command()
def report(run: RunArgument) -> None:
    """Write the HTML report and its figures into the run's folder."""
    from nas.run import Run

    files = Run.open(run).write_report()
    print(f"Report: {files.html}")


@app.command()
def track(
    run: RunArgument,
    to: Annotated[str, typer.Option(metavar="NAME", help="mlflow, wandb or optuna.")],
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="An option of the tracker, such as experiment=mine; repeatable."
        ),
    ] = None,
) -> None:
    """Tell a tracker of a recorded run."""
    from nas.commands.track import track_run

    print(track_run(run, to=to, options=options or []))


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


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="To listen at; beyond loopback only with tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    url: DatabaseOption = None,
    data: DataOption = DATA,
    artifacts: ArtifactsOption = None,
    auth: Annotated[bool, typer.Option(help="Whether a token is needed.")] = True,
    model_root: Annotated[
        list[Path] | None, typer.Option(help="Folder below which searches may load models and read files; repeatable.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let searches run code that comes with a model.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Workers to start beside the API.")] = 1,
    lease: LeaseOption = 30.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second of each token, in the long run.")] = 20.0,
    burst: Annotated[int, typer.Option(min=1, help="Requests of each token at once.")] = 100,
) -> None:
    """Serve searches over HTTP, with a worker."""
    from nas.commands.service import Serving, artifacts_root, database_url
    from nas.commands.service import serve as serve_searches

    serving = Serving(
        url=database_url(url, data),
        artifacts=artifacts_root(artifacts, data),
        host=host,
        port=port,
        has_auth=auth,
        model_roots=model_root or [],
        allow_remote_code=trust_remote_code,
        num_workers=workers,
        lease_s=lease,
        requests_per_s=rate,
        burst=burst,
    )
    serve_searches(serving, _console())


@app.command()
def worker(
    url: DatabaseOption = None,
    data: DataOption = DATA,
    artifacts: ArtifactsOption = None,
    lease: LeaseOption = 30.0,
    device: Annotated[
        str | None, typer.Option(help="As CUDA_VISIBLE_DEVICES names one, or cpu; default: a worker on each.")
    ] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing waits.")] = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Work through the service's queue, on each device of this machine."""
    from nas.commands.service import Working, artifacts_root, database_url, work

    work(
        Working(
            url=database_url(url, data),
            artifacts=artifacts_root(artifacts, data),
            lease_s=lease,
            device=device,
            until_idle=until_idle,
            parent=parent,
        )
    )


@app.command()
def submit(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A search config, see configs/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config, such as trials=10; repeatable."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="The same key gives the same search.")] = None,
    server: ServiceOption = LOCAL_SERVICE,
    token: TokenOption = None,
) -> None:
    """Submit a search to the service, and print its id."""
    from nas.commands.remote_files import submit_config

    with _client(server, token) as client:
        print(submit_config(client, config, overrides=overrides or [], key=key))


@app.command()
def jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only such: queued, running, complete, …")] = None,
    server: ServiceOption = LOCAL_SERVICE,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the service's searches, newest first."""
    from nas.commands.remote import jobs_table
    from nas.tables import print_table

    with _client(server, token) as client:
        found = list(client.jobs(states=state or []))
    if as_json:
        _print_json(found)
    else:
        print_table(jobs_table(found))


@app.command()
def watch(search: SearchArgument, server: ServiceOption = LOCAL_SERVICE, token: TokenOption = None) -> None:
    """Print what happens to a search until it is over."""
    from nas.commands.remote import watch_search

    with _client(server, token) as client:
        raise typer.Exit(watch_search(client, search, Console()))


@app.command()
def cancel(search: SearchArgument, server: ServiceOption = LOCAL_SERVICE, token: TokenOption = None) -> None:
    """End a search of the service; what it has found stays."""
    with _client(server, token) as client:
        print(client.cancel(search)["state"])


@app.command()
def delete(
    search: SearchArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: ServiceOption = LOCAL_SERVICE,
    token: TokenOption = None,
) -> None:
    """Delete a search of the service that is over, with its trials and exports."""
    with _client(server, token) as client:
        if not yes:
            name = client.get(search)["name"]
            question = f"Delete {name!r}, its trials and its exports? They cannot be had back (--yes does not ask)."
            typer.confirm(question, abort=True, err=True)
        client.delete(search)


token_commands = typer.Typer(name="token", help="Tokens of the service.", no_args_is_help=True)
app.add_typer(token_commands)


@token_commands.command("create")
def token_create(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="To whom what it submits will belong.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, submit or admin; repeatable.")] = None,
    days: Annotated[float | None, typer.Option(help="Until it expires; default: never.")] = None,
    url: DatabaseOption = None,
    data: DataOption = DATA,
) -> None:
    """Make a token, and print it; it cannot be had again."""
    from nas.commands.service import create_token, database_url

    lifetime_s = None if days is None else days * 86400
    print(create_token(database_url(url, data), owner=owner, scopes=scope or ["submit"], lifetime_s=lifetime_s))


@token_commands.command("list")
def token_list(url: DatabaseOption = None, data: DataOption = DATA) -> None:
    """List tokens, without their secrets."""
    from nas.commands.service import database_url, tokens_table
    from nas.tables import print_table

    print_table(tokens_table(database_url(url, data)))


@token_commands.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The 16 characters after nas_.")],
    url: DatabaseOption = None,
    data: DataOption = DATA,
) -> None:
    """Make a token worthless at once."""
    from nas.commands.service import database_url, revoke_token

    revoke_token(database_url(url, data), token_id)


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


def _client(server: str, token: str | None) -> Any:
    from nas.client import Client

    return Client(server, token)


def _opened(run: Path, server: str | None, token: str | None) -> Any:
    """A run in a folder, or a search in the service."""
    if server is None:
        from nas.run import Run

        return Run.open(run)
    from nas.commands.remote import fetch_results

    with _client(server, token) as client:
        return fetch_results(client, str(run))


def _console() -> Console:
    """Progress goes to standard error, so that standard output holds results alone."""
    return Console(stderr=True)


def _print_json(record: Any) -> None:
    print(json.dumps(record, indent=2))


def _print_measurements(measurements: Any, as_json: bool) -> None:
    from nas.tables import measurements_table, print_table

    if as_json:
        _print_json({name: measurement.to_json() for name, measurement in measurements.items()})
    else:
        print_table(measurements_table(measurements))


if __name__ == "__main__":
    main()
