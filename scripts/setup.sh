#!/usr/bin/env bash
# Make .venv with what requirements.lock pins, and the system libraries for headless rendering and cameras.
# Done again only when pyproject.toml or requirements.lock changed. `--browser` adds Chromium, which the page tests drive;
# without root they are skipped instead. `--hardware` adds the drivers of arm, cameras and teleoperation, and the emulator
# of the arm. `--dry-run` says what would be done, and does nothing. AGPS_TORCH_INDEX=cpu (or the URL of an index) takes
# torch from there: see docs/gpu.md.
set -euo pipefail
cd "$(dirname "$0")/.."

is_dry=""
if [ "${1:-}" = --dry-run ]; then
    is_dry=1
    shift
fi
stamp=.venv/.agps-installed
extras=dev
packages=()
ldconfig -p | grep -q 'libEGL\.so\.1' || packages+=(libegl1)
ldconfig -p | grep -q 'libusb-1\.0\.so\.0' || packages+=(libusb-1.0-0)
ls /usr/lib/*/dri/swrast_dri.so >/dev/null 2>&1 || packages+=(libgl1-mesa-dri)
python=""
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "AGPS needs Python 3.11 or newer; 'python3 --version' here: $(python3 --version 2>&1 || true)." >&2
    exit 1
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
if [ "${1:-}" = --hardware ]; then
    stamp=.venv/.agps-hardware-installed
    extras=dev,hardware,emulator
    ldconfig -p | grep -q 'libhidapi-hidraw\.so\.0' || packages+=(libhidapi-hidraw0)
fi
if [ "${1:-}" = --browser ] && [ "$(id -u)" -eq 0 ]; then
    command -v chromium chromium-browser google-chrome >/dev/null || packages+=(chromium)
fi

if [ -z "$is_dry" ] && [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing system packages: ${packages[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "System packages are missing; run: sudo apt-get install --no-install-recommends ${packages[*]}" >&2
        exit 1
    fi
fi

if [ -z "$is_dry" ] && [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt requirements.lock ]; then
    exit 0
fi
torch=$(grep '^torch==' requirements.lock)
index=${AGPS_TORCH_INDEX:-}
[ "$index" = cpu ] && index=https://download.pytorch.org/whl/cpu
count=$(grep -c '==' requirements.lock)
echo "Installing AGPS [$extras] into .venv (a few minutes the first time): up to $count packages, about 700 MB without torch."
if [ -n "$index" ]; then
    echo "$torch comes from $index; a processor build is about 200 MB."
elif [ "$(uname -s)" = Linux ]; then
    echo "$torch of PyPI is built for CUDA: several GB more. Without a GPU, stop here and run AGPS_TORCH_INDEX=cpu make setup."
fi
run() { if [ -n "$is_dry" ]; then echo "would run: $*"; else "$@"; fi; }
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
[ -x .venv/bin/python ] || run "$python" -m venv .venv
run rm -rf agps.egg-info  # entry points of an earlier version would be found first in this folder
export PYTHONWARNINGS=ignore
[ -z "$index" ] || run "${pip[@]}" --index-url "$index" "$torch"
run "${pip[@]}" --constraint requirements.lock --editable ".[$extras]"
run touch "$stamp"
