# The image that users and challenge platforms run: `docker build --tag ms-new-lesions:0.1.0 .`; docs/organisers.md says the rest.
# The base image's `base` flavour is enough: torch brings its own CUDA libraries, and those of a larger flavour would be there twice.
ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/requirements.txt
# For an image without CUDA: https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL
# What only compiling or testing needs is left out: triton, pip, C++ headers, the packages' own tests.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --requirement /tmp/requirements.txt \
    && /opt/venv/bin/pip uninstall --yes triton pip \
    && rm -rf /opt/venv/lib/python3*/site-packages/torch/include /opt/venv/lib/python3*/site-packages/torch/test \
    && find /opt/venv -type f -path "*/torch/bin/*" ! -name torch_shm_manager -delete \
    && find /opt/venv -type d -name tests -prune -exec rm -rf {} +

# What is in it: names, versions and licences of the Python packages, CycloneDX.
FROM build AS sbom
ARG CYCLONEDX_VERSION=7.5.0
RUN python3 -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --no-cache-dir cyclonedx-bom==${CYCLONEDX_VERSION} \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/sbom/sbom.json /opt/venv

# Anima's programs for `--preprocessing anima`, when asked for. They are AGPL: that binds who hands the image on.
FROM ${BASE_IMAGE} AS anima
ARG WITH_ANIMA=0
ARG ANIMA_VERSION=4.2
ARG ANIMA_SHA256
ARG ANIMA_SCRIPTS_COMMIT
ARG ANIMA_DATA_COMMIT
COPY install_anima.sh /tmp/install_anima.sh
RUN mkdir /opt/anima && if [ "${WITH_ANIMA}" = 1 ]; then sh /tmp/install_anima.sh /opt/anima; fi

FROM ${BASE_IMAGE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
COPY --from=anima /opt/anima /opt/anima
COPY --from=sbom /opt/sbom/sbom.json /opt/ms-new-lesions/sbom.json
COPY LICENSE requirements.txt /opt/ms-new-lesions/
COPY weights /opt/ms-new-lesions/weights
COPY app /opt/ms-new-lesions/app
COPY --chmod=755 entrypoint.sh /usr/local/bin/ms-new-lesions
# app/__main__.py sets GLIBC_TUNABLES itself by starting Python anew; set here, one start is enough.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/ms-new-lesions \
    PYTHONDONTWRITEBYTECODE=1 \
    ANIMA_CONFIG=/opt/anima/config.txt \
    GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1
ARG VERSION=0.1.0
ARG COMMIT=unknown
# Named as the container in dataset_description.json of BIDS derivatives.
ENV MS_NEW_LESIONS_IMAGE=ms-new-lesions:${VERSION}
# Where the source is, when the image was made, and what BASE_IMAGE was then; `make image` says it.
ARG SOURCE=unknown
ARG CREATED=unknown
ARG BASE_IMAGE
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.title="ms-new-lesions" \
    org.opencontainers.image.description="New multiple-sclerosis lesions between two FLAIR scans. Research software, not a medical device." \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.url="${SOURCE}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.base.name="${BASE_IMAGE}" \
    org.opencontainers.image.base.digest="${BASE_DIGEST}" \
    org.opencontainers.image.licenses="Apache-2.0"
# Loads the program and compares the weights with their hashes.
HEALTHCHECK --interval=10m --timeout=1m --start-period=1m CMD ["ms-new-lesions", "--version"]
USER 65534:65534
ENTRYPOINT ["ms-new-lesions"]
