# The training: torch, video decoding, the workload. Never flask.
#
# torch comes with its CUDA libraries: they are used where the container is given GPUs, and lie idle elsewhere.

FROM python:3.11.13-slim-bookworm

# A package index of your own: docker compose build --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

WORKDIR /opt/leitstand

# Without the code this installs the dependencies alone: gigabytes, which a change of the code leaves as they are.
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN pip install --constraint requirements.lock ".[train,perceptual,postgres]"

COPY service service
COPY ddp ddp
RUN pip install --no-deps --force-reinstall .

# Volumes take over the owner of the folder that they cover.
RUN useradd --uid 1000 --user-group --no-create-home leitstand \
    && mkdir -p /leitstand/run /leitstand/data \
    && chown -R 1000:1000 /leitstand
ENV HOME=/tmp
WORKDIR /leitstand
USER 1000:1000

CMD ["leitstand", "train", "--resume"]
