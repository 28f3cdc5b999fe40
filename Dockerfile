# syntax=docker/dockerfile:1
# The operator: small, not root, no PyTorch.
#   docker build .                     anywhere
#   hack/images build operator         here: with buildah or docker, the base made or pulled, loaded into the cluster
#
# A change of code rebuilds two thin layers; a change of requirements/operator.lock the one below them.
# Secrets `index-env` (shell lines that export index settings) and `ca` carry a closed network's
# configuration into the build; nothing of them stays in the image. Without them the defaults are used.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
COPY hack/imagebuild/build.lock /opt/build/build.lock
RUN --mount=type=secret,id=index-env --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -f /run/secrets/index-env ]; then . /run/secrets/index-env; fi && \
    python3 -m venv /opt/build && \
    /opt/build/bin/pip install --quiet --disable-pip-version-check --require-hashes -r /opt/build/build.lock

FROM build AS dependencies
COPY requirements/operator.lock /opt/build/operator.lock
RUN --mount=type=secret,id=index-env --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/uv \
    if [ -f /run/secrets/index-env ]; then . /run/secrets/index-env; fi && \
    python3 -m venv --without-pip /opt/venv && \
    /opt/build/bin/uv pip install --quiet --link-mode=copy --compile-bytecode --python /opt/venv/bin/python \
      --require-hashes -r /opt/build/operator.lock && \
    echo /opt/app > "$(echo /opt/venv/lib/python3.*/site-packages)/app.pth"

# A wheel of what this image needs, unpacked: no network, and no layer that grows with the environment's size.
FROM dependencies AS application
COPY pyproject.toml README.md LICENSE /src/
COPY crds/src /src/crds/src
COPY dashboard/src /src/dashboard/src
COPY operator/src /src/operator/src
RUN cd /src && /opt/build/bin/hatchling build -t wheel -d /wheels && \
    /opt/build/bin/uv pip install --quiet --offline --no-deps --no-cache --target /opt/app \
      --python /opt/venv/bin/python /wheels/*.whl && \
    /opt/venv/bin/python -m compileall -q /opt/app

FROM ${BASE_IMAGE}
# Nothing in the image gives a process more rights than it has.
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=application /opt/app /opt/app
ENV PATH=/opt/app/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["neuron-operator"]
