# bitparity for hosts with NVIDIA GPUs, on vLLM's own image:
#   docker build -t bitparity .
#   docker run --gpus all --ipc=host -v "$PWD:/work" bitparity run study.yaml
# Benchmarks that run code need bubblewrap's namespaces, which a container engine may forbid; `bitparity doctor` in the
# container says which level of the sandbox works there.
ARG VLLM=v0.25.1
FROM vllm/vllm-openai:${VLLM}

# the version is the one of the image's distribution
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE MANIFEST.in /src/
COPY src /src/src
# vLLM, torch and transformers are those of the image; the extra lm-eval pins its own version
RUN python3 -m pip install --no-cache-dir '/src[hub,lm-eval,openai]' \
    && rm -rf /src

WORKDIR /work
ENV VLLM_NO_USAGE_STATS=1
ENTRYPOINT ["bitparity"]
CMD ["--help"]
