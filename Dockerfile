# An image with the `nas` command and no model weights.
#
#   docker build --tag nas .
#   docker run --rm --volume "$PWD/runs:/work/runs" nas search /opt/nas/configs/quickstart.yaml
#
# torch comes in the build that the package index offers: on Linux the public one carries CUDA, and runs on the CPU
# too. For a smaller image, pass an index with CPU builds as --build-arg PIP_EXTRA_INDEX_URL=…

FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/nas/venv
ENV PATH=/opt/nas/venv/bin:$PATH
COPY requirements.lock /tmp/
# torch first and alone, as in the Makefile.
RUN pip install "$(grep '^torch==' /tmp/requirements.lock)"
RUN pip install --requirement /tmp/requirements.lock
COPY . /tmp/source/
RUN pip install --no-deps --no-build-isolation /tmp/source

FROM python:3.11-slim-bookworm
RUN useradd --create-home nas && install --directory --owner=nas /work /work/runs
COPY --from=build /opt/nas/venv /opt/nas/venv
COPY configs /opt/nas/configs
ENV PATH=/opt/nas/venv/bin:$PATH
USER nas
WORKDIR /work
ENTRYPOINT ["nas"]
