#!/usr/bin/env bash
# Builds the image and tries it, as the user of the image: `nas doctor`, `nas search configs/quickstart.yaml`, `nas rerun`
# of that run, and `nas serve` with the image's health check. Says what passed; exit code 0 only where all of it did.
#
#   scripts/check_image.sh [--short] [--skip-build] [--remove] [-- OPTIONS OF THE BUILD]
#
#   --short        a search of 8 trials in place of the quickstart's 64
#   --skip-build   try the image that is there
#   --remove       remove the image afterwards; by default it stays, as does the cache, for a quicker build next time
#
# With docker or podman where their engine answers, else with buildah, which needs none (as root: apt-get install
# buildah debootstrap). Where buildah cannot pull the base image, Debian's python made by debootstrap stands in for it.
# Settings: IMAGE (localhost/nas:check), BUILD_S and STEP_S (seconds at most), OMP_NUM_THREADS, DEBIAN_MIRROR.
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE=${IMAGE:-localhost/nas:check}
BUILD_S=${BUILD_S:-3600}
STEP_S=${STEP_S:-1800}
STOP_S=20
STAND_IN=localhost/nas-stand-in-base:bookworm
SHORT=() SKIP_BUILD='' REMOVE=''
while (($#)); do
    case $1 in
        --short) SHORT=(--set trials=8) ;;
        --skip-build) SKIP_BUILD=1 ;;
        --remove) REMOVE=1 ;;
        --) shift; break ;;
        *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
    shift
done
BUILD_OPTIONS=("$@")
CONTAINER='' SERVING='' SERVER='' SCRATCH=$(mktemp -d)

fail() { echo "FAILED: $*" >&2; exit 1; }
passed() { printf 'passed: %-62s %5s s\n' "$1" "$((SECONDS - began_s))"; }
begin() { began_s=$SECONDS; echo "== $*"; }

find_engine() {
    for ENGINE in docker podman; do
        timeout 20 "$ENGINE" info >/dev/null 2>&1 && return
    done
    ENGINE=buildah
    command -v buildah >/dev/null \
        || fail "an image needs docker or podman with a running engine, or buildah, and none is here; install one"
}

# Three things differ from engine to engine: building, a command in a container of the image, and serving in one.
build() {
    local revision
    revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    local options=(--tag "$IMAGE" --build-arg "REVISION=$revision" "${BUILD_OPTIONS[@]}")
    case $ENGINE in
        docker) timeout "$BUILD_S" docker build "${options[@]}" . ;;
        podman) timeout "$BUILD_S" podman build --format docker "${options[@]}" . ;;
        buildah)
            choose_base
            timeout "$BUILD_S" buildah build --isolation chroot --format docker --layers --force-rm --pull-never \
                --build-arg "BASE=$BASE" "${options[@]}" . ;;
    esac
}

start() {
    if [ "$ENGINE" = buildah ]; then
        CONTAINER=$(buildah from --pull-never "$IMAGE")
    else
        CONTAINER=$("$ENGINE" run --detach --entrypoint sleep "${CONFINED[@]}" "$IMAGE" infinity)
    fi
}
CONFINED=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --init
    --volume /work/runs --volume /cache --volume /data)

inside() {
    local settings=(env ${OMP_NUM_THREADS:+"OMP_NUM_THREADS=$OMP_NUM_THREADS"})
    if [ "$ENGINE" = buildah ]; then
        timeout "$STEP_S" buildah run --isolation chroot "$CONTAINER" -- "${settings[@]}" "$@"
    else
        timeout "$STEP_S" "$ENGINE" exec --interactive "$CONTAINER" "${settings[@]}" "$@"
    fi
}

# The service, in the background; its first line says where. With buildah it shares the host's processes and ports.
serve() {
    PORT=$((20000 + RANDOM % 20000))
    if [ "$ENGINE" = buildah ]; then
        buildah run --isolation chroot "$CONTAINER" -- sh -c \
            'echo $$ > /data/pid; exec nas serve --host 0.0.0.0 --port '"$PORT" >"$SCRATCH/serve.log" 2>&1 &
        SERVER=$!
    else
        SERVING=$("$ENGINE" run --detach "${CONFINED[@]}" "$IMAGE" serve --host 0.0.0.0 --port "$PORT")
    fi
}

health() {
    if [ "$ENGINE" = buildah ]; then
        inside sh -c 'python /opt/nas/healthcheck.py "$(cat /data/pid)"'
    else
        "$ENGINE" exec "$SERVING" python /opt/nas/healthcheck.py
    fi
}

serve_log() { if [ "$ENGINE" = buildah ]; then cat "$SCRATCH/serve.log"; else "$ENGINE" logs "$SERVING" 2>&1; fi; }

stop_serving() {
    if [ "$ENGINE" = buildah ]; then
        inside sh -c 'kill -TERM "$(cat /data/pid)"'
        for ((tries = 0; tries < STOP_S; tries++)); do
            kill -0 "$SERVER" 2>/dev/null || break
            sleep 1
        done
        ! kill -0 "$SERVER" 2>/dev/null || fail "nas serve must end within $STOP_S s of SIGTERM"
        SERVER=''
    else
        "$ENGINE" stop --time "$STOP_S" "$SERVING" >/dev/null
        [ "$("$ENGINE" inspect --format '{{.State.ExitCode}}' "$SERVING")" != 137 ] \
            || fail "nas serve must end within $STOP_S s of SIGTERM"
    fi
}

choose_base() {
    BASE=docker.io/library/$(sed -n 's/^ARG BASE=//p' Dockerfile)
    buildah inspect --type image "$BASE" >/dev/null 2>&1 && return
    timeout 120 buildah pull --quiet "$BASE" >/dev/null 2>&1 && return
    echo "$BASE cannot be pulled; Debian's python stands in for it"
    BASE=$STAND_IN
    buildah inspect --type image "$BASE" >/dev/null 2>&1 || make_stand_in
}

make_stand_in() {
    command -v debootstrap >/dev/null \
        || fail "a base image must be pulled or made by debootstrap, and neither can be done; install debootstrap"
    timeout "$STEP_S" debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        bookworm "$SCRATCH/base" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$SCRATCH/debootstrap.log" \
        || { tail "$SCRATCH/debootstrap.log" >&2; fail "debootstrap"; }
    rm -rf "$SCRATCH"/base/var/cache/apt/* "$SCRATCH"/base/var/lib/apt/lists/*
    ln -s /usr/bin/python3 "$SCRATCH/base/usr/local/bin/python"
    CONTAINER=$(buildah from scratch)
    buildah add --quiet "$CONTAINER" "$SCRATCH/base" / >/dev/null
    buildah commit --quiet "$CONTAINER" "$STAND_IN" >/dev/null
    buildah rm "$CONTAINER" >/dev/null
    CONTAINER=''
    rm -rf "$SCRATCH/base"
}

clean_up() {
    if [ -n "$SERVER" ]; then
        buildah run --isolation chroot "$CONTAINER" -- sh -c 'kill -KILL "$(cat /data/pid)"' 2>/dev/null || true
        wait "$SERVER" 2>/dev/null || true
    fi
    for one in $SERVING $CONTAINER; do
        if [ "$ENGINE" = buildah ]; then buildah rm "$one"; else "$ENGINE" rm --force --volumes "$one"; fi >/dev/null || true
    done
    if [ -n "$REMOVE" ]; then
        if [ "$ENGINE" = buildah ]; then buildah rmi --prune "$IMAGE"; else "$ENGINE" rmi "$IMAGE"; fi >/dev/null || true
    fi
    rm -rf "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

find_engine
echo "engine: $("$ENGINE" --version | head -1)"
if [ -z "$SKIP_BUILD" ]; then
    begin "build"
    build
    passed "the image builds"
fi
start

begin "what is in it"
[ "$(inside id -u)" = 10001 ] || fail "the user must be 10001, got $(inside id -u)"
! inside sh -c 'touch /opt/nas/there || touch /usr/there' 2>/dev/null || fail "the user can write where the program lies"
inside python - <<'PYTHON'
import importlib.util, pathlib, sys
dev = [name for name in ("pytest", "ruff", "mypy", "hypothesis", "schemathesis") if importlib.util.find_spec(name)]
weights = [
    str(path)
    for folder in ("/opt/nas", "/work", "/data", "/cache")
    for ending in ("safetensors", "bin", "pt", "pth", "gguf")
    for path in pathlib.Path(folder).rglob(f"*.{ending}")
    if path.stat().st_size > 2**20 and "bundled_model" not in path.parts
]
sys.exit(f"development tools {dev}, weights {weights}" if dev or weights else 0)
PYTHON
[ -z "$(inside pip config list)" ] || fail "pip's settings of the machine that built it are in the image"
[ "$(inside ls /opt)" = nas ] \
    || fail "/opt must hold nas alone, got $(inside ls /opt); pass no --volume to the build, whose mount point stays"
inside nas --version
passed "user 10001, no development tools, no weights, no settings"

begin "nas doctor"
inside nas doctor
passed "nas doctor"

begin "nas search configs/quickstart.yaml ${SHORT[*]}"
inside rm -rf /work/runs/first /work/runs/second
inside nas search /opt/nas/configs/quickstart.yaml "${SHORT[@]}" --out /work/runs/first
passed "nas search configs/quickstart.yaml ${SHORT[*]}"

begin "nas rerun"
inside nas rerun /work/runs/first --out /work/runs/second
passed "nas rerun"

begin "nas serve"
serve
for ((tries = 0; tries < 60; tries++)); do
    health 2>/dev/null && break
    sleep 1
done
health || { serve_log >&2; fail "the health check"; }
serve_log | grep -q 'token, shown this once: nas_' || { serve_log >&2; fail "no administrator's token in the log"; }
stop_serving
! health 2>/dev/null || fail "the health check passes where nothing serves"
passed "nas serve, its health check, its end on SIGTERM"

if [ "$ENGINE" = buildah ]; then
    size=$(buildah images --format '{{.Size}}' "$IMAGE")
else
    size=$("$ENGINE" image inspect --format '{{.Size}} bytes' "$IMAGE")
fi
echo "$IMAGE: $size; all checks passed in $SECONDS s"
