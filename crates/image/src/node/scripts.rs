//! What is run on a node. Only what POSIX has of the shell, and `ctr` without flags that changed their meaning between versions of
//! containerd, so that it does not matter who made the node's image.

/// Lists the blobs of a node; the snapshotter that its kubelet uses, since `ctr` would unpack for its own default; where its
/// blobs are; whether `ctr` can be told to write blobs itself (since 1.7 it hands the stream to containerd instead, which takes
/// half as long again); its images, and those that its containers were made from.
pub(super) const LIST: &str = r#"set -e
ctr -n k8s.io images import --help 2>/dev/null | sed -n 's/^ *--local .*/local/p' &
containerd config dump 2>/dev/null | sed -n -e "s/^ *snapshotter = ['\"]\([^'\"][^'\"]*\)['\"]$/snapshotter \1/p" -e "s/^root = ['\"]\([^'\"]*\)['\"]$/root \1/p" &
ctr -n k8s.io images ls | sed 1d | while read -r name type digest rest; do echo "image $name $digest"; done &
ctr -n k8s.io containers ls | sed 1d | while read -r id image rest; do echo "used $image"; done &
ctr -n k8s.io content ls -q
wait"#;

/// What the others need. $1: directory of the blobs; $2: empty if they are hashed on this machine; $3: reference;
/// $4: the name with its digest, if it is known.
pub(super) const START: &str = r#"content=$1 hash=$2 reference=$3 pinned=$4
shift 4
blobs() { for blob; do
  file=$content/${blob#sha256:}
  if [ -f "$file" ]; then sum=$(sha256sum <"$file"); else sum=$(ctr -n k8s.io content get "$blob" | sha256sum); fi
  echo "blob $blob sha256:${sum%% *}"
done; }
"#;

/// Takes in the image on stdin. $1: snapshotter, which may be empty; $2: `--local` or nothing; $3: names that are of no use once
/// the image is there, divided by spaces. The others are the blobs that are not sent: they are hashed meanwhile.
pub(super) const IMPORT: &str = r#"snapshotter=$1 local=$2 outdated=$3 code=0
shift 3
[ -z "$hash" ] || blobs "$@" &
ctr -n k8s.io images import $local ${snapshotter:+--snapshotter "$snapshotter"} - >&2 || code=$?
wait
[ $code = 0 ] || exit $code
[ -z "$outdated" ] || ctr -n k8s.io images rm $outdated >&2 || :
"#;

/// Prints what `ctr` says of the image under its name and under the one with its digest, the manifest, and the digests of the
/// blobs that were not hashed yet.
pub(super) const HELD: &str = r#"names=$(ctr -n k8s.io images check "name==$reference" ${pinned:+"name==$pinned"} | sed 1d)
digest=$(printf '%s\n' "$names" | while read -r name type digest rest; do [ "$name" != "$reference" ] || echo "$digest"; done)
[ -n "$digest" ] || exit 0
printf '%s\n' "$names"
[ -n "$pinned" ] || ctr -n k8s.io images check "name==${reference%:*}@$digest" | sed 1d
manifest=$(ctr -n k8s.io content get "$digest")
printf 'manifest\n%s\nblobs\n' "$manifest"
[ -n "$hash" ] || exit 0
for blob in $digest $(printf %s "$manifest" | grep -o 'sha256:[0-9a-f]\{64\}'); do
  case " $* " in *" $blob "*) ;; *) blobs "$blob" ;; esac
done"#;
