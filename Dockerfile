# The image that users and challenge platforms run: `docker build --tag ms-new-lesions:0.1.0 .`; docs/organisers.md says the rest.
# The base image's `base` flavour is enough: torch brings its own CUDA libraries, and those of a larger flavour would be there twice.
ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY locks /tmp/locks
# cuda, or cpu: torch for CPUs alone, whose files https://download.pytorch.org/whl/cpu has.
ARG TORCH=cuda
ARG PIP_EXTRA_INDEX_URL
# Each file is checked against its SHA-256. pip has an environment of its own, which stays behind.
RUN python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --only-binary=:all: \
        --require-hashes --requirement /tmp/locks/packages.txt --requirement "/tmp/locks/torch-${TORCH}.txt"
# What only compiling or testing needs is left out: C++ headers, torch's compiler, tests; and gdcm's libraries under the
# two of three names that nobody asks for. Names of inner functions leave torch's largest libraries in the variant that
# the tests run. Bytecode is kept of what is imported.
RUN packages=$(echo /opt/venv/lib/python3*/site-packages) \
    && rm -rf "$packages"/torch/include "$packages"/torch/test \
        "$packages"/torch/_inductor "$packages"/torch/_dynamo \
        "$packages"/_gdcm/lib*.so "$packages"/_gdcm/lib*.so.[0-9].[0-9].[0-9] \
    && find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete \
    && find /opt/venv -type d -name tests -prune -exec rm -rf {} + \
    && if [ "${TORCH}" = cpu ]; then strip --strip-unneeded "$packages"/torch/lib/libtorch_cpu.so "$packages"/torch/lib/libtorch_python.so; fi \
    && /opt/venv/bin/python -c "import click, gdcm, highdicom, jinja2, matplotlib.figure, matplotlib.backends.backend_pdf, \
        scipy.ndimage, scipy.optimize, SimpleITK, torch"

# What is in it: names, versions and licences of the Python packages, CycloneDX. Nothing else of this stage is kept.
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
COPY LICENSE /opt/ms-new-lesions/
COPY locks /opt/ms-new-lesions/locks
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
