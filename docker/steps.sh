#!/usr/bin/env bash
# The steps of docker/Dockerfile that have more than a line to them. What is installed and how it is
# built is scripts/setup.sh's to say.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/setup.sh"

case ${1:-} in
  packages) # as root
    fakescore_packages "${build_packages[@]}"
    rm -rf "$root/build" /var/lib/apt/lists/*
    ;;
  torch)
    fakescore_torch
    ;;
  nvcc)
    fakescore_nvcc
    ;;
  build) # CMake's cache keeps FAKESCORE_CUDA for fakescore_build and for tests/run
    (cd "$root" && cmake --preset release -DFAKESCORE_PYTHON="$venv/bin/python3" \
      -DFAKESCORE_CUDA="$FAKESCORE_CUDA")
    fakescore_build release "${@:2}"
    ;;
  install)
    cmake --install "$(fakescore_build_folder release)" --prefix "$root/installed" --strip
    ;;
  prune) # what only a compiler reads, and the compiler of torch.compile
    "$venv/bin/pip" uninstall --quiet --yes triton
    site=$("$venv/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    rm -rf "$site"/torch/include "$site"/nvidia/*/include
    find "$site" -name '*.a' -delete
    ;;
  *)
    fail "usage: docker/steps.sh packages|torch|nvcc|build [TARGET...]|install|prune"
    ;;
esac
