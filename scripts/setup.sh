# Sourced by launcher/demo, tests/run and .ci/run: installs what is missing and sets the
# environment of the build. Needs $root, the checkout. Defines fakescore_setup and fakescore_build.

pinned_torch_version=2.11.0
build_packages=(g++ cmake ninja-build ccache python3-venv openmpi-bin libopenmpi-dev
                nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libpng-dev
                libgtest-dev libgmock-dev librapidcheck-dev)

say() { printf '== %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# fakescore_use_torch VERSION: which torch the functions below install and build with. Any but the
# pinned one has a virtual environment and build folders of its own.
fakescore_use_torch() {
  torch_version=$1
  venv=$root/.venv
  build_suffix=
  if [ "$torch_version" != "$pinned_torch_version" ]; then
    venv=$root/.venv-$torch_version
    build_suffix=-torch-$torch_version
  fi
}
fakescore_use_torch "${FAKESCORE_TORCH_VERSION:-$pinned_torch_version}"

# fakescore_build_folder PRESET: prints where fakescore_build builds it.
fakescore_build_folder() { printf '%s/build/%s%s' "$root" "$1" "$build_suffix"; }

# fakescore_packages PACKAGE...: installs Debian packages that are missing.
fakescore_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    fail "Debian packages are missing; run this line, then start again:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  say "installing Debian packages: ${missing[*]}"
  local log=$root/build/apt.log apt=(apt-get -o DPkg::Lock::Timeout=300)
  mkdir -p "$root/build"
  { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive \
      "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get failed; the whole log is in $log"; }
}

# fakescore_torch: LibTorch, from the PyPI wheel, in a virtual environment inside the checkout. The
# stamp is written last: an environment without it was interrupted or is another version's.
fakescore_torch() {
  local stamp=$venv/.fakescore-torch-$torch_version
  [ -e "$stamp" ] && return
  say "installing torch $torch_version into $venv (several gigabytes, a few minutes)"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --progress-bar off \
    "torch==$torch_version" ||
    fail "pip could not install torch $torch_version; see the messages above"
  touch "$stamp"
}

# fakescore_nvcc: the compiler of device code and the headers that NCCL's own includes, from PyPI, where
# the machine has no toolkit of the CUDA that torch was built with. A torch without CUDA needs none.
fakescore_nvcc() {
  local cuda nvcc
  cuda=$("$venv/bin/python3" -c 'import importlib.metadata as m; print(m.version("cuda-toolkit"))' \
    2>/dev/null) || return 0
  for nvcc in "$venv"/lib/python3*/site-packages/nvidia/cu*/bin/nvcc /usr/local/cuda/bin/nvcc; do
    [ -x "$nvcc" ] && "$nvcc" --version | grep -q "release ${cuda%%.*}\." && return
  done
  say "installing nvcc of CUDA $cuda into $venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --progress-bar off \
    "cuda-toolkit[nvcc,nvvm,crt,cccl]==$cuda" ||
    fail "pip could not install nvcc; see the messages above"
}

fakescore_setup() {
  fakescore_packages "${build_packages[@]}"
  fakescore_torch
  fakescore_nvcc
  if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# fakescore_progress LOG: writes what a build prints into LOG, and tells how far it is: on a terminal in
# one line, elsewhere in a line for each tenth of the steps.
fakescore_progress() {
  local log=$1 line tenth last=0 terminal=0 any=0
  [ -t 2 ] && terminal=1
  # Not awk: Debian's reads a pipe in blocks, so that little is told for minutes.
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line" >&3
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    tenth=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
    if [ "$terminal" = 1 ]; then
      printf '\r== built %d of %d files' "${BASH_REMATCH[@]:1:2}" >&2
    elif [ "$tenth" -gt "$last" ]; then
      printf '== built %d of %d files\n' "${BASH_REMATCH[@]:1:2}" >&2
    fi
    last=$tenth any=1
  done 3>"$log"
  [ "$terminal$any" != 11 ] || printf '\n' >&2
}

# fakescore_build PRESET [TARGET...]: configures and builds.
fakescore_build() {
  local preset=$1 folder log
  folder=$(fakescore_build_folder "$preset")
  log=$folder.log
  shift
  mkdir -p "$root/build"
  say "building preset $preset (log: $log)"
  (cd "$root" &&
    cmake --preset "$preset" -B "$folder" -DFAKESCORE_PYTHON="$venv/bin/python3" &&
    cmake --build "$folder" -j2 ${1:+--target "$@"}) 2>&1 | fakescore_progress "$log" ||
    { tail -n 40 "$log" >&2; fail "the build failed; the whole log is in $log"; }
}

# fakescore_python: installs the Python package and what its tests need.
fakescore_python() {
  local stamp=$venv/.fakescore-python-tests requirements=$root/tests/python/requirements.txt
  if ! cmp -s "$requirements" "$stamp"; then
    say "installing what the tests of the Python package need"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --progress-bar off \
      scikit-build-core -r "$requirements" || fail "pip failed; see the messages above"
    cp "$requirements" "$stamp"
  fi
  local log=$root/build/python.log
  mkdir -p "$root/build"
  say "building the Python package (log: $log)"
  # The compiler of the presets, so that what they compiled is taken from the compiler cache.
  CXX=c++ "$venv/bin/pip" install --disable-pip-version-check --no-build-isolation --no-deps -v \
    --config-settings=cmake.define.FAKESCORE_WERROR=ON "$root" >"$log" 2>&1 ||
    { tail -n 40 "$log" >&2; fail "the build failed; the whole log is in $log"; }
}
