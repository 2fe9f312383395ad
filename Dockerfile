# The GPU image: this package with the engines of a cluster, for CUDA 12.8.
# Written with care and never built: no Docker, no CUDA and no registry of images were at hand.
#   docker build -t registry.example.org/echat:gpu .
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04

ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3.12 python3.12-venv python3.12-dev build-essential ffmpeg git rsync \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/echat
COPY . .
# torch and its siblings come from PyTorch's index, so that all are of one CUDA; the rest is as on a CPU.
ARG CUDA=cu128
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/${CUDA} \
    VENV=/opt/venv PYTHON=python3.12 TORCH="torch==2.13.0" EXTRAS="[gpu,llm,hub,publish]" LOCK= SPEECH= \
    requirements/install_engines.sh
# CosyVoice 3 is in no wheel: its checkout, at a commit that you have read. COSYVOICE_REF=none leaves it out.
ARG COSYVOICE_REF=none
RUN if [ "$COSYVOICE_REF" != none ]; then \
      git clone --recursive https://github.com/FunAudioLLM/CosyVoice /opt/CosyVoice \
      && git -C /opt/CosyVoice checkout --recurse-submodules "$COSYVOICE_REF"; \
    fi
ENV PATH=/opt/venv/bin:$PATH HF_HOME=/models HF_HUB_OFFLINE=1
# The default model of `cosyvoice` is a CosyVoice 3, so it needs a checkout, and COSYVOICE_HOME=/opt/CosyVoice in the
# environment of the head and of the workers (deploy/). Without a checkout the variable must stay unset.

# Ubuntu's image has a user `ubuntu` of the number 1000 from 24.04 on. The manifests in deploy/ give /models to 1000.
RUN (userdel --remove ubuntu || true) && useradd --create-home --uid 1000 echat \
 && mkdir -p /data /models && chown echat /data /models
USER echat
WORKDIR /data
CMD ["echat", "doctor"]
