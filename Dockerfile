# One Shoal server. As it is, it serves the scaled chat; for your own application see docs/docker.md.
#
#   docker build -t sockets-scalability-example .
#   docker run --rm -p 1111:1111 sockets-scalability-example
#
# PYTHON_IMAGE may be any image with python3 (3.11 or newer), its venv module and bash, the same for both stages.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/wheelhouse
# Set to 1, pip takes nothing but what lies in deploy/wheelhouse.
ARG PIP_NO_INDEX
COPY deploy/wheelhouse /wheelhouse
RUN python3 -m venv /opt/shoal
WORKDIR /build
# What Shoal needs comes before Shoal, so that a changed source file downloads nothing again.
COPY pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*project['dependencies'], *project['optional-dependencies']['redis'], sep='\n')" > requirements.txt \
    && /opt/shoal/bin/pip install --requirement requirements.txt
COPY LICENSE README.md ./
COPY src src
RUN /opt/shoal/bin/pip install --no-deps . && /opt/shoal/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Shoal" \
      org.opencontainers.image.description="A Socket.IO server that scales out" \
      org.opencontainers.image.licenses="MIT"
COPY deploy/healthcheck /usr/local/bin/healthcheck
COPY --from=build /opt/shoal /opt/shoal
ENV PATH=/opt/shoal/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=1111
# A number, so that orchestrators can see that it is not root. No account is needed: nothing is ever written.
USER 10001:10001
EXPOSE 1111
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 CMD ["healthcheck"]
# The shell gives way to the server, so that the server hears SIGTERM. The node is named after its port, or SHOAL_NODE.
CMD ["sh", "-c", "exec shoal serve shoal.demo:app --host 0.0.0.0 --port \"$PORT\""]
