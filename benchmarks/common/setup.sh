# shellcheck shell=bash
# Sourced by the commands of benchmarks/, after scripts/setup.sh. Defines benchmark_venv, which sets
# $benchmark_python: an interpreter that has the peers and matplotlib beside the torch that fakescore
# is built with, and finds the modules of benchmarks/common.

export PYTHONPATH=$root/benchmarks/common${PYTHONPATH:+:$PYTHONPATH}

benchmark_venv() {
  local folder=$root/.venv-benchmarks$build_suffix requirements=$root/benchmarks/common/requirements.txt
  benchmark_python=$folder/bin/python3
  # Copied last: an environment without it was interrupted or holds other versions.
  cmp -s "$requirements" "$folder/requirements.txt" && return
  say "installing the peers into $folder"
  rm -rf "$folder"
  python3 -m venv "$folder"
  local packages='import sysconfig; print(sysconfig.get_path("purelib"))'
  "$venv/bin/python3" -c "$packages" >"$("$benchmark_python" -c "$packages")/torch.pth"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --progress-bar off \
    -r "$requirements" || fail "pip could not install the peers; see the messages above"
  cp "$requirements" "$folder/requirements.txt"
}
emulation_targets=(fakescore_emulation fakescore_emulated_ops fakescore_emulated_kernels)
