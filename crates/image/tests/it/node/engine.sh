#!/bin/sh
# An engine whose containers are directories next to it: `engine exec [-i] NODE sh -c SCRIPT sh ARGS…`. On such a node `ctr`
# and `containerd` are the scripts of this directory.
here=$(dirname "$0")
[ "$1" = exec ] || { echo "engine: unknown command $1" >&2; exit 2; }
shift
[ "$1" != -i ] || shift
NODE=$here/$1
[ -d "$NODE" ] || { echo "Error: no container with name \"$1\" found" >&2; exit 125; }
[ ! -e "$NODE/stopped" ] || { echo "Error: container state improper" >&2; exit 255; }
shift
export NODE PATH="$here:$PATH"
exec "$@"
