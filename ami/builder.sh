# What a builder does with its user data, after the lines that `ami.bake` writes above: `package`, `installer`, `report` and
# the `weights` are addresses, `arguments` those of install.sh. No curl: a base image need not have it, cloud-init's Python is there.
set -uo pipefail

work=$(mktemp -d)

# fetch ADDRESS: into the work folder, under the address's own name
fetch() {
  local name=${1%%\?*}
  python3 -I -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$1" "$work/${name##*/}"
}

# tell FILE: its text is this bake's outcome
tell() {
  python3 -I -c 'import sys, urllib.request as r
text = {"Content-Type": "text/plain"}
r.urlopen(r.Request(sys.argv[1], open(sys.argv[2], "rb").read(), text, method="PUT"))' "$report" "$1"
}

build() {
  local address name
  fetch "$installer" && fetch "$package" || return
  name=${package%%\?*}
  for address in "${weights[@]}"; do
    fetch "$address" || return
    address=${address%%\?*}
    arguments+=(--weights "$work/${address##*/}")
  done
  bash "$work/install.sh" --package "$work/${name##*/}" "${arguments[@]}"
}

build 2>&1 | tee "$work/log"
if [[ ${PIPESTATUS[0]} == 0 ]]; then
  echo 'done' >"$work/outcome"
else
  { echo 'failed' && tail -n 30 "$work/log"; } >"$work/outcome"
fi
tell "$work/outcome"
rm -rf "$work"
