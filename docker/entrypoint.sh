#!/bin/sh
# The images' entry point: becomes its arguments (mpirun, torchrun, fakescore, a shell), so that signals
# reach them. What begins with no program is fakescore's, which knows its subcommands; no arguments print
# its help.
set -eu

# Under `docker run --user` the user may have neither a name, which Python asks for, nor a home.
if ! id -un >/dev/null 2>&1; then
  USER=user$(id -u)
  LOGNAME=$USER
  export USER LOGNAME
fi
if [ ! -w "${HOME:-/}" ]; then
  export HOME=/tmp
fi
# Rootless engines map their user to root.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

case ${1:-} in
  '') set -- fakescore --help ;;
  -*) set -- fakescore "$@" ;;
  */*) ;;
  *) which "$1" >/dev/null 2>&1 || set -- fakescore "$@" ;;
esac
exec "$@"
