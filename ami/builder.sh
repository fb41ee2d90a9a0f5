# Runs on a builder as its user data, after lines that `ami.bake` writes: `package`, `installer`, `report` and `weights` are
# addresses, `arguments` those of install.sh. It uses cloud-init's Python, as a base image may have no curl.
set -uo pipefail

work=$(mktemp -d)

# fetch ADDRESS: download into the work folder, under the address's name
fetch() {
  local name=${1%%\?*}
  python3 -I -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$1" "$work/${name##*/}"
}

# tell FILE: report the file's text as the outcome of this bake
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
