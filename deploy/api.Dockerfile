# The API and dashboard: flask under gunicorn. Never torch.

FROM python:3.11.13-slim-bookworm AS build

# A package index of your own: docker compose build --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /build
RUN python -m venv /opt/leitstand

# Without the code this installs the dependencies alone, in a layer that a change of the code leaves as it is.
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN /opt/leitstand/bin/pip install --constraint requirements.lock ".[api,postgres,notify]"

COPY service service
COPY api api
RUN /opt/leitstand/bin/pip install --no-deps --force-reinstall .

FROM python:3.11.13-slim-bookworm

COPY --from=build /opt/leitstand /opt/leitstand

# Volumes take over the owner of the folder that they cover.
RUN useradd --uid 1000 --user-group --no-create-home leitstand \
    && mkdir -p /leitstand/run \
    && chown -R 1000:1000 /leitstand
ENV PATH=/opt/leitstand/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /leitstand
USER 1000:1000
EXPOSE 5050

# Other programs than Compose and Kubernetes, which have their own, learn by this whether it serves.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/livez' % os.environ.get('LEITSTAND_API_PORT', '5050'), timeout=3)"]

CMD ["leitstand", "serve"]
