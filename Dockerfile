# An image with the `nas` command, its service, and no model weights but those of the bundled model.
#
#   docker build --tag nas .                                              # for the CPU
#   docker build --tag nas:cuda --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu130 .
#
# docs/guide/containers.md has the rest; scripts/check_image.sh builds it and tries it.

ARG BASE=python:3.11.14-slim-bookworm

# What to install, apart from all else in pyproject.toml, so that nothing but a change of it is a reason to do so anew.
FROM ${BASE} AS requirements
ARG EXTRAS="service s3"
COPY pyproject.toml requirements.lock /
RUN python -c 'import sys, tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = [project["optional-dependencies"][name] for name in sys.argv[1:]]; \
print(*project["dependencies"], *sum(extras, []), sep="\n")' ${EXTRAS} > wanted.txt \
    && grep '^torch==' requirements.lock > torch.txt \
    && grep '^setuptools==' requirements.lock > build.txt \
    && grep -v '^nvidia-' requirements.lock > constraints.txt

# The secret `pip` is a pip.conf for those with a mirror or an index of their own; it stays out of the image.
FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/nas/venv
ENV PATH=/opt/nas/venv/bin:$PATH
# torch first and alone: of equal versions pip prefers the one with a suffix, such as 2.13.0+cpu, and what follows keeps it.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY --from=requirements /torch.txt /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} --requirement /tmp/torch.txt \
    && { pip freeze | grep '^nvidia-nccl-' > /tmp/nccl.txt || true; }
COPY --from=requirements /constraints.txt /wanted.txt /tmp/
# Syne Tune asks for xgboost, and that for NCCL, half a gigabyte with which nothing here trains on several GPUs; it would
# also lie in the place of the one that a CUDA build of torch brings, which is put back.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --constraint /tmp/constraints.txt --requirement /tmp/wanted.txt \
    && pip uninstall --yes nvidia-nccl-cu12 \
    && if [ -s /tmp/nccl.txt ]; then pip install --force-reinstall --no-deps --requirement /tmp/nccl.txt; fi
# Nothing came in another version than the locked one but CUDA's libraries, which are torch's to pin.
RUN pip freeze --all --exclude pip > /tmp/installed.txt \
    && ! sed 's/+.*//' /tmp/installed.txt | grep -Ev '^(cuda-|nvidia-|triton=)' | grep -vxFf /tmp/constraints.txt

FROM ${BASE} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY --from=requirements /build.txt /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv /opt/build && /opt/build/bin/pip install --requirement /tmp/build.txt
COPY pyproject.toml README.md LICENSE /source/
COPY search_spaces /source/search_spaces
COPY evaluators /source/evaluators
COPY nas /source/nas
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheel /source

FROM ${BASE}
# Group 0 and g+w let any user id work (`--user`, OpenShift); the folders' owner is what new volumes take over.
RUN useradd --uid 10001 --no-log-init --home-dir /cache --no-create-home --shell /usr/sbin/nologin nas \
    && install --directory --owner=nas --group=root --mode=0775 /work /work/runs /data /cache
# Two layers: the second, of some megabytes, is all that a change of the source replaces.
COPY --from=dependencies /opt/nas/venv /opt/nas/venv
RUN --mount=type=bind,from=wheel,source=/wheel,target=/tmp/wheel \
    /opt/nas/venv/bin/pip install --no-cache-dir --no-deps --no-index --root-user-action ignore /tmp/wheel/*.whl
COPY configs /opt/nas/configs
COPY deploy/healthcheck.py /opt/nas/healthcheck.py
# HOME is one folder for whatever a library keeps, so that the rest can be read-only.
ENV PATH=/opt/nas/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    HF_HOME=/cache/huggingface \
    NAS_DATA=/data
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nas" \
      org.opencontainers.image.description="Neural architecture search for LLM sub-networks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /work
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "/opt/nas/healthcheck.py"]
ENTRYPOINT ["nas"]
