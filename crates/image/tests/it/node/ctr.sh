#!/bin/sh
# What `ctr -n k8s.io` of containerd 2.1 does, as far as it is asked, on a directory: `blobs/` by digest, `names` with lines
# `NAME DIGEST`. It takes an image only if every blob is there, in the store or in the stream.
shift 2
case "$1 $2" in
"content ls") ls "$NODE/blobs" ;;
"content get") cat "$NODE/blobs/$3" ;;
"images ls") echo "REF TYPE DIGEST SIZE PLATFORMS LABELS"; while read -r name digest; do echo "$name type $digest 1.0 MiB linux/amd64 -"; done <"$NODE/names" ;;
"images rm") shift 2; for name; do grep -v "^$name " "$NODE/names" >"$NODE/names.new" || :; mv "$NODE/names.new" "$NODE/names"; done ;;
"containers ls") echo "CONTAINER IMAGE RUNTIME" ;;
"images import")
  [ "$3" != --help ] || { echo "   --local   run import locally"; exit 0; }
  [ ! -e "$NODE/stops-while-it-reads" ] || { head -c 1000 >/dev/null; touch "$NODE/stopped"; echo "ctr: unexpected EOF" >&2; exit 1; }
  in=$(mktemp -d "$NODE/in.XXXXXX")
  tar -x -C "$in"
  echo "$*" >>"$NODE/imports"
  ls "$in/blobs/sha256" >>"$NODE/imports"
  for blob in "$in"/blobs/sha256/*; do [ ! -e "$blob" ] || mv "$blob" "$NODE/blobs/sha256:${blob##*/}"; done
  # The garbage collector comes between the list and the import.
  [ ! -e "$NODE/collect" ] || { rm "$NODE/blobs/$(cat "$NODE/collect")" "$NODE/collect"; }
  manifest=$(grep -o 'sha256:[0-9a-f]*' "$in/index.json" | head -n 1)
  for blob in $(grep -o 'sha256:[0-9a-f]*' "$NODE/blobs/$manifest"); do
    [ -e "$NODE/blobs/$blob" ] || { echo "ctr: content digest $blob: not found" >&2; exit 1; }
  done
  grep -o '"io.containerd.image.name":"[^"]*"' "$in/index.json" | cut -d'"' -f4 | while read -r name; do echo "$name $manifest"; done >>"$NODE/names"
  rm -r "$in"
  ;;
"images check")
  echo "REF TYPE DIGEST STATUS SIZE UNPACKED"
  shift 2
  for filter; do grep "^${filter#name==} " "$NODE/names"; done | while read -r name digest; do
    state="complete (5/5)"
    for blob in $digest $(grep -o 'sha256:[0-9a-f]*' "$NODE/blobs/$digest"); do [ -e "$NODE/blobs/$blob" ] || state="incomplete (4/5)"; done
    echo "$name application/vnd.oci.image.manifest.v1+json $digest $state 1.0 MiB/1.0 MiB true"
  done
  ;;
*) echo "ctr: unknown command $*" >&2; exit 2 ;;
esac
