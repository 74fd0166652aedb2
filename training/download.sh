#!/bin/sh
# Fetch the open data that training.prepare reads, at fixed commits, and check every file:  training/download.sh DIR   (about 120 MB kept; needs git)
# The validation pairs come from longitudinal/: train.sh makes them (training.open_pairs).
set -eu
[ $# -eq 1 ] || { echo "usage: training/download.sh DIR" >&2; exit 2; }
sums=$(cd "$(dirname "$0")" && pwd)/open_data.sha256
mkdir -p "$1"
cd "$1"
clones=$(mktemp -d)
trap 'rm -rf "$clones"' EXIT

# clone NAME COMMIT OWNER/REPOSITORY PATTERNS: history without files, in $clones/NAME; files come when they are checked out
clone() {
    git clone --quiet --filter=blob:none --no-checkout "https://github.com/$3.git" "$clones/$1"
    git -C "$clones/$1" config advice.detachedHead false
    printf '%s\n' "$4" | git -C "$clones/$1" sparse-checkout set --no-cone --stdin
    git -C "$clones/$1" checkout --quiet "$2"
}

# keep NAME FOLDER INTO: move a checked-out folder to its place here
keep() {
    mkdir -p "$(dirname "$3")"
    rm -rf "$3"
    mv "$clones/$1/$2" "$3"
}

clone synthseg 66342c1f BBillot/SynthSeg '/data/training_label_maps/'
keep synthseg data/training_label_maps SynthSeg/training_label_maps

clone simulator e17cad00 CSIM-Toolkits/Slicer-LesionSimulatorExtension '/MSLesionSimulator/MSlesion_database/labels-database/'
keep simulator MSLesionSimulator/MSlesion_database/labels-database MSLesionSimulator/labels-database

clone open_ms 65704901 muschellij2/open_ms_data '/cross_sectional/MNI/
/longitudinal/raw/
/longitudinal/coregistered/'
for path in $(sed -n 's|^[0-9a-f]*  open_ms_data/||p' "$sums"); do
    keep open_ms "$path" "open_ms_data/$path"  # only what is used: other scans would change the recipe
done

clone synthsr 04ab5548 neurolabusc/py_synthsr '/FLAIR.nii.gz'
keep synthsr FLAIR.nii.gz py_synthsr/FLAIR.nii.gz

# MSLesSeg, as one of its users holds two patients; some files are in one commit, some in the other
clone visits 90006c71 srozenblum/YOLO-MSLesSeg '/demo/MSLesSeg-Dataset/train/'
clone visits_first 892c9d32 srozenblum/YOLO-MSLesSeg '/demo/MSLesSeg-Dataset/train/'
for path in $(sed -n 's|^[0-9a-f]*  mslesseg/||p' "$sums"); do
    visit=$(echo "$path" | cut -d _ -f 1,2 | tr _ /)
    held=visits
    [ -f "$clones/visits/demo/MSLesSeg-Dataset/train/$visit/$path" ] || held=visits_first
    keep $held "demo/MSLesSeg-Dataset/train/$visit/$path" "mslesseg/$path"
done

sha256sum --check --quiet "$sums"
# the 2,229 lesion masks as one: the hash of their hashes
found=$(find MSLesionSimulator/labels-database -name '*.nii.gz' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d ' ' -f 1)
wanted=5bcad58880826f426fa741ceb04721904a0dbdcbf0be3b52e6e035708781dfc0
[ "$found" = "$wanted" ] || { echo "MSLesionSimulator/labels-database: its hash is $found; wanted $wanted" >&2; exit 1; }
by_hand=$(dirname "$sums")/by_hand.sha256
missing=$(cut -c 67- "$by_hand" | while read -r path; do [ -f "$path" ] || echo "$path"; done | wc -l)
[ "$missing" -eq "$(wc -l <"$by_hand")" ] || sha256sum --check --quiet --ignore-missing "$by_hand"
echo "all fetched files are as they should be; $missing files of by_hand.sha256 are not here (training/README.md says where they come from)"
