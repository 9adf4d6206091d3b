"""What the container files say, against what the program has: commands, options, variables, routes, extras."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from nas.artifacts import ArtifactStore
from nas.cli import app
from nas.config import parse_config
from nas.service.api import Policy, create_app
from nas.service.database import Database

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").rglob("*.yaml"))
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
PACKAGE_DATA: dict[str, list[str]] = SETTINGS["tool"]["setuptools"]["package-data"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))

OWN_NAMES = ("nas", "nas-cuda")
EXACT = re.compile(r"v?\d+\.\d+(\.\d+)?(-[\w.]+)*")
USER = 10001
DRAIN_S = 10
"""Within which a worker ends after SIGTERM, as docs/guide/service.md has it."""
OTHERS_READ = {
    "OMP_NUM_THREADS": "torch",
    "HF_TOKEN": "huggingface_hub",
    "PGPASSWORD": "libpq",
    "AWS_ACCESS_KEY_ID": "botocore",
    "AWS_SECRET_ACCESS_KEY": "botocore",
    "AWS_DEFAULT_REGION": "botocore",
    "AWS_ENDPOINT_URL": "botocore",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that runs the image.

    Attributes:
        where: For people.
        image: With its tag.
        words: What follows the image's entry point `nas`.
        variables: Names in its environment.
    """

    where: str
    image: str
    words: tuple[str, ...]
    variables: frozenset[str]


def documents() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path, document


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for _, document in documents():
        if document["kind"] in {"Deployment", "Job"}:
            yield f"{document['kind']} {document['metadata']['name']}", document["spec"]["template"]["spec"]


def containers() -> Iterator[Container]:
    for where, pod in pods():
        for each in pod["containers"]:
            yield Container(
                where=where,
                image=each["image"],
                words=words(each),
                variables=frozenset(variable["name"] for variable in each["env"]),
            )
    for name, service in COMPOSE["services"].items():
        if name != "postgres":
            yield Container(
                where=f"compose {name}",
                image=service["image"],
                words=tuple(service["command"]),
                variables=frozenset(service["environment"]),
            )


def words(container: dict[str, Any]) -> tuple[str, ...]:
    """The arguments of `nas`, also where a shell begins it; what the shell puts in is left out."""
    if container.get("command") == ["sh", "-c"]:
        [begun] = re.findall(r"^exec nas (.*)$", container["args"][0], re.MULTILINE)
        return tuple(word for word in begun.split() if not word.startswith("$"))
    assert "command" not in container
    return tuple(container["args"])


def options_of(command: str) -> dict[str, Any]:
    group = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in group.commands[command].params}  # type: ignore[attr-defined]


CONTAINERS = list(containers())
PODS = dict(pods())
each_container = pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.where)
each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=list(PODS))


def test_there_is_what_the_checks_below_look_at() -> None:
    kinds = [document["kind"] for _, document in documents()]
    assert {"Deployment", "Service", "Job", "PersistentVolumeClaim", "Namespace", "Kustomization"} == set(kinds) - {
        "ConfigMap"
    }
    assert {container.words[0] for container in CONTAINERS} == {"serve", "worker", "search", "rerun"}
    assert sum(container.words[0] == "worker" for container in CONTAINERS) == 4


@each_container
def test_commands_and_options_exist(container: Container) -> None:
    """Parsed as the command line is, without being run."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(  # type: ignore[attr-defined]
        group.make_context("nas", list(container.words), resilient_parsing=True), list(container.words)
    )
    command.make_context(name, rest)


def test_an_option_that_does_not_exist_is_found() -> None:
    wrong = Container(where="", image="", words=("serve", "--helpers", "3"), variables=frozenset())
    with pytest.raises(Exception, match="No such option"):
        test_commands_and_options_exist(wrong)


@each_container
def test_variables_are_read(container: Container) -> None:
    read = {parameter.envvar for parameter in options_of(container.words[0]).values()}
    assert container.variables <= read | set(OTHERS_READ)
    if container.words[0] in {"serve", "worker"}:
        assert "NAS_DATABASE_URL" in container.variables


def test_patched_variables_are_read() -> None:
    patched = [name for path in MANIFESTS for name in re.findall(r"\{name: (NAS_\w+), value", path.read_text("utf-8"))]
    assert patched == ["NAS_ARTIFACTS"]
    for command in ("serve", "worker"):
        assert set(patched) <= {parameter.envvar for parameter in options_of(command).values()}


@each_container
def test_images_are_of_this_version(container: Container) -> None:
    repository, _, tag = container.image.rpartition(":")
    assert repository.rpartition("/")[2] in OWN_NAMES
    assert tag.removesuffix("-cuda") == PROJECT["version"]


def test_tags_of_kustomizations_are_of_this_version() -> None:
    tags = [image["newTag"] for _, document in documents() for image in document.get("images", [])]
    assert tags
    assert set(tags) == {PROJECT["version"]}
    assert f"ARG VERSION={PROJECT['version']}\n" in DOCKERFILE


@each_pod
def test_pods_meet_the_restricted_standard(pod: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, and a root file system that is read-only."""
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (USER, USER, USER)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
        *("emptyDir", "persistentVolumeClaim", "configMap", "secret")
    }


@each_pod
def test_what_is_written_to_is_mounted(pod: dict[str, Any]) -> None:
    """HOME, temporary files, and where the command keeps what it makes, as the rest is read-only."""
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) == volumes
        serves = words(container)[0] in {"serve", "worker"}
        assert {"/tmp", "/cache", "/data" if serves else "/work/runs"} <= set(mounts)


def test_claims_are_made() -> None:
    made = {document["metadata"]["name"] for _, document in documents() if document["kind"] == "PersistentVolumeClaim"}
    claimed = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in PODS.values()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claimed == made


@each_pod
def test_workers_have_time_to_give_back_their_search(pod: dict[str, Any]) -> None:
    if any(words(container)[0] == "worker" for container in pod["containers"]):
        assert pod["terminationGracePeriodSeconds"] >= 2 * DRAIN_S


def test_workers_of_compose_have_time_too() -> None:
    for name in ("worker", "worker-gpu"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) >= 2 * DRAIN_S


def test_probes_ask_routes_that_are_there(tmp_path: Path) -> None:
    service = create_app(Database(f"sqlite:///{tmp_path / 'nas.db'}"), Policy(), ArtifactStore(str(tmp_path)))
    paths = set(service.openapi()["paths"])
    [api] = PODS["Deployment nas-api"]["containers"]
    probes = {name: api[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["path"] for probe in probes.values()} <= paths
    assert probes["livenessProbe"]["path"] == "/healthz"
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert {probe["port"] for probe in probes.values()} == {"http"}
    [port] = api["ports"]
    assert port == {"name": "http", "containerPort": options_of("serve")["port"].default}
    assert "/readyz" in (ROOT / "deploy" / "healthcheck.py").read_text(encoding="utf-8")


def test_the_service_of_kubernetes_finds_the_api() -> None:
    [service] = [document for _, document in documents() if document["kind"] == "Service"]
    labels = [
        document["spec"]["template"]["metadata"]["labels"]
        for _, document in documents()
        if document["kind"] == "Deployment"
    ]
    found = [each for each in labels if service["spec"]["selector"].items() <= each.items()]
    assert [each["app.kubernetes.io/component"] for each in found] == ["api"]
    assert service["spec"]["ports"][0]["targetPort"] == "http"


def test_deployments_find_their_pods() -> None:
    selectors = []
    for _, document in documents():
        if document["kind"] == "Deployment":
            selectors.append(document["spec"]["selector"]["matchLabels"])
            assert selectors[-1] == document["spec"]["template"]["metadata"]["labels"]
    assert all(selectors.count(selector) == 1 for selector in selectors)


def test_every_manifest_is_named_where_it_belongs() -> None:
    base = ROOT / "deploy" / "kubernetes" / "base"
    for path, document in documents():
        for resource in document.get("resources", []):
            assert (path.parent / resource).exists()
    [kustomization] = [document for path, document in documents() if path == base / "kustomization.yaml"]
    assert {*kustomization["resources"], "kustomization.yaml"} == {path.name for path in base.iterdir()}


def test_configs_are_valid() -> None:
    configs = [
        text for _, document in documents() if document["kind"] == "ConfigMap" for text in document["data"].values()
    ]
    assert configs
    for text in configs:
        parse_config(text)


def test_compose_holds_no_secret_and_no_default_for_one() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
    given = {
        (name, variable): value
        for name, service in COMPOSE["services"].items()
        for variable, value in service["environment"].items()
        if secret.search(variable)
    }
    assert ("postgres", "POSTGRES_PASSWORD") in given
    assert {value for value in given.values() if value is not None} == {
        "${POSTGRES_PASSWORD:?put POSTGRES_PASSWORD=… into the file .env}"
    }
    assert "@" not in COMPOSE["x-nas"]["environment"]["NAS_DATABASE_URL"].partition("//nas@")[2]


def test_compose_waits_for_what_it_needs() -> None:
    services = COMPOSE["services"]
    healthy = {"condition": "service_healthy"}
    assert services["api"]["depends_on"] == {"postgres": healthy}
    assert services["worker"]["depends_on"] == {"postgres": healthy, "api": healthy}
    assert services["worker-gpu"]["depends_on"] == services["worker"]["depends_on"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    for name in ("api", "postgres"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_compose_confines_and_mounts() -> None:
    named = {
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service["volumes"]
        if ":" in volume
    }
    assert named == set(COMPOSE["volumes"])
    for name, service in COMPOSE["services"].items():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        if name != "postgres":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert {"/tmp", "data:/data", "cache:/cache"} == set(service["volumes"])
    assert "ports" not in COMPOSE["services"]["postgres"]
    assert COMPOSE["services"]["postgres"]["networks"] == ["database"]
    assert COMPOSE["services"]["api"]["ports"] == ["${NAS_BIND:-127.0.0.1}:8000:8000"]


def test_foreign_images_have_exact_tags() -> None:
    base = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    for image in [*base, COMPOSE["services"]["postgres"]["image"]]:
        assert EXACT.fullmatch(image.partition(":")[2]), image
        assert image.count(".") >= 1
    assert len(base) == 1
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}"}


def test_the_image_installs_extras_that_there_are_and_no_development_tools() -> None:
    [extras] = re.findall(r'^ARG EXTRAS="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert {"service", "s3"} <= set(extras.split())
    assert "dev" not in extras.split()
    for extra in extras.split():
        wanted = PROJECT["optional-dependencies"][extra]
        assert not [line for line in wanted if line.startswith(PROJECT["name"])], "the Dockerfile cannot resolve that"
    for line in ("torch==", "setuptools=="):
        assert len(re.findall(rf"^{line}", LOCK, re.MULTILINE)) == 1


def test_the_image_copies_what_is_there_and_let_through() -> None:
    let_through = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert {"nas", "configs", "requirements.lock", "deploy/healthcheck.py"} <= copied
    assert copied == let_through
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_image_runs_as_nobody_special() -> None:
    *_, last = re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == [f"{USER}:{USER}"]
    assert f"--uid {USER} " in last
    assert last.index("\nUSER ") > last.rindex("\nRUN "), "what is installed must belong to root"
    assert 'CMD ["python", "/opt/nas/healthcheck.py"]' in last
    assert 'ENTRYPOINT ["nas"]' in last
    [ports] = re.findall(r"^EXPOSE (\d+)$", last, re.MULTILINE)
    assert int(ports) == options_of("serve")["port"].default
    assert options_of("serve")["data"].envvar == "NAS_DATA"
    assert "NAS_DATA=/data" in last


def test_all_files_of_the_packages_are_installed() -> None:
    """A checkout has them in any case; an image has only what the wheel takes along."""
    left_out = []
    for package in ("nas", "evaluators", "search_spaces"):
        taken = {path for pattern in PACKAGE_DATA.get(package, []) for path in (ROOT / package).glob(pattern)}
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc", ".md"} and path not in taken:
                left_out.append(str(path.relative_to(ROOT)))
    assert left_out == []
