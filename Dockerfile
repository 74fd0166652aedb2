# `base`: torch brings its own CUDA libraries, so the image's own would be there twice.
ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE_IMAGE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --requirement /tmp/requirements.txt

FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
COPY app /opt/ms-new-lesions/app
COPY weights /opt/ms-new-lesions/weights
COPY entrypoint.sh /opt/ms-new-lesions/entrypoint.sh
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/ms-new-lesions \
    PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
ENTRYPOINT ["/opt/ms-new-lesions/entrypoint.sh"]
CMD ["run"]
