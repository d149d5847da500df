#!/bin/bash
# Freezes a list of assets and submits the array of render_array.sbatch over it. Run on a login node:
#   slurm/submit_render.sh ASSETS SHARDS [sbatch options] -- [--config FILE] [key=value ...]
# ASSETS is a folder (searched for .glb .gltf .fbx .obj .blend) or a text file with one path a line.
# Pending array tasks read the list when they start, so it must not change: it is copied under a name
# that holds its checksum, and made read-only.
set -euo pipefail
usage="usage: slurm/submit_render.sh ASSETS SHARDS [sbatch options] -- [--config FILE] [key=value ...]"
[[ $# -ge 2 && -e $1 && $2 =~ ^[1-9][0-9]*$ ]] || { echo "$usage" >&2; exit 2; }
: "${SCRATCH:?set SCRATCH to a folder with room for outputs}"
source_path=$1 shards=$2
shift 2
options=()
while [[ $# -gt 0 && $1 != -- ]]; do options+=("$1"); shift; done
[[ $# -eq 0 ]] || shift

root=$(cd "$(dirname "$0")/.." && pwd)
lists=$SCRATCH/videopapr/manifests
mkdir -p "$lists"
draft=$(mktemp "$lists/.draft.XXXXXX")
trap 'rm -f "$draft"' EXIT
if [[ -d $source_path ]]; then
    find "$(cd "$source_path" && pwd)" -type f \
        \( -iname '*.glb' -o -iname '*.gltf' -o -iname '*.fbx' -o -iname '*.obj' -o -iname '*.blend' \) |
        LC_ALL=C sort > "$draft"
else
    awk 'NF' "$source_path" > "$draft"
fi
count=$(wc -l < "$draft")
[[ $count -gt 0 ]] || { echo "error: no assets in $source_path" >&2; exit 2; }
((shards <= count)) || shards=$count
manifest=$lists/$(sha256sum "$draft" | cut -c1-16).txt
if [[ ! -e $manifest ]]; then
    chmod 444 "$draft"
    mv "$draft" "$manifest"
fi
echo "$count assets in $shards shards; list: $manifest"
MANIFEST=$manifest SHARDS=$shards VIDEOPAPR_ROOT=$root sbatch --array="0-$((shards - 1))" \
    ${options[@]+"${options[@]}"} "$root/slurm/render_array.sbatch" "$@"
