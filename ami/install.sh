#!/bin/bash
# Turns a bare Debian 12, Ubuntu 22.04 or newer, or Deep Learning AMI into a Tagfleet worker or host. Run as root; again
# to upgrade. Needs the network, or a folder of wheels. TAGFLEET_* settings in the environment (pools, say) are honoured.
set -euo pipefail

readonly ROOT=/opt/tagfleet HOME_DIR=/var/lib/tagfleet CACHE=/var/cache/tagfleet USER_NAME=tagfleet
readonly VENV=$ROOT/venv CONVERTER=$ROOT/converter PREPARE_LOG=$ROOT/prepare.log

usage() {
  cat <<'TEXT'
usage: install.sh --package FILE [options]
  --package FILE        a wheel or source archive of Tagfleet, or a checkout
  --role ROLE           worker (default), or host: web tier, collector and controller
  --weights FILE        NAME.safetensors, copied into the weights folder; may be given several times
  --engine-cache DIR    converted engines (the folder `engines` of a cache), copied; without it torch converts them
  --wheels DIR          install from these files alone, without the network
  --gpu | --cpu         what the worker will run on; without it: a GPU where this machine has one
  --end-machine         power this machine off when its worker has ended; for instances whose shutdown terminates them
  --seal                forget what this machine was, for an image to be made of its disk; a worker's runs no user data
TEXT
}

say() { printf 'install.sh: %s\n' "$*"; }
fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

read_arguments() {
  package='' role=worker engine_cache='' gpu='' device='' end_machine='' seal='' weights=() pip_options=(--quiet --disable-pip-version-check --no-warn-conflicts)
  while (($#)); do
    case $1 in
      --package) package=${2-} && shift ;;
      --role) role=${2-} && shift ;;
      --weights) weights+=("${2-}") && shift ;;
      --engine-cache) engine_cache=${2-} && shift ;;
      --wheels) pip_options+=(--no-index --find-links "${2-}") && shift ;;
      --gpu) gpu=yes ;;
      --cpu) gpu=no ;;
      --end-machine) end_machine=yes ;;
      --seal) seal=yes ;;
      --help) usage && exit ;;
      *) usage >&2 && fail "there is no option $1" ;;
    esac
    shift || fail "the last option needs a value"
  done
  [[ $role == worker || $role == host ]] || fail "--role $role: there are worker and host"
  [[ -e $package ]] || fail "--package '$package': there is no such file"
  [[ -z $engine_cache || -d $engine_cache ]] || fail "--engine-cache $engine_cache: there is no such folder"
  local file
  for file in "${weights[@]}"; do [[ -f $file ]] || fail "--weights $file: there is no such file"; done
  if [[ -z $gpu ]]; then [[ -e /dev/nvidia0 ]] && gpu=yes || gpu=no; fi
  if [[ $gpu == yes ]]; then device=cuda; else device=cpu; fi
}

# Sets `python` to an interpreter that is new enough and can make virtual environments.
find_python() {
  for python in python3.13 python3.12 python3.11 python3; do
    "$python" -I -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  return 1
}

install_python() {
  find_python && return
  command -v apt-get >/dev/null || fail "there is no Python 3.11 here, and no apt-get to install it with"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -o DPkg::Lock::Timeout=300 update
  apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends python3-venv ca-certificates
  find_python && return
  apt-get -q install -y --no-install-recommends python3.11-venv || true # Ubuntu 22.04 has it beside its own 3.10
  find_python || fail "neither python3 nor python3.11 of this distribution will do: Python 3.11 or newer is needed"
}

make_user() {
  getent passwd $USER_NAME >/dev/null ||
    useradd --system --user-group --home-dir $HOME_DIR --no-create-home --shell /usr/sbin/nologin $USER_NAME
  install -d -m 0755 $ROOT /etc/tagfleet
  install -d -m 0700 -o $USER_NAME -g $USER_NAME $HOME_DIR $HOME_DIR/weights
  install -d -m 0755 -o $USER_NAME -g $USER_NAME $CACHE
}

# make_venv FOLDER ROLE: the package, and of its requirements those of the role
make_venv() {
  local pip=("$1/bin/python" -P -m pip install "${pip_options[@]}")
  [[ -x $1/bin/python ]] || "$python" -P -m venv "$1"
  "${pip[@]}" --no-deps --force-reinstall "$package"
  "$1/bin/python" -P -m ami.requirements "$2" >"$1/requirements.txt"
  "${pip[@]}" --requirement "$1/requirements.txt"
}

copy_models() {
  local file
  for file in "${weights[@]}"; do
    install -m 0600 -o $USER_NAME -g $USER_NAME "$file" $HOME_DIR/weights/
  done
  if [[ -n $engine_cache ]]; then
    mkdir -p $CACHE/engines
    cp -r "$engine_cache/." $CACHE/engines/
    chown -R $USER_NAME:$USER_NAME $CACHE/engines
  fi
}

# prepare FOLDER: get weights and engines, and check that they compute what they should
prepare() {
  (
    cd $HOME_DIR
    export TAGFLEET_HOME=$CACHE/preparing TAGFLEET_CACHE=$CACHE TAGFLEET_WEIGHTS=$HOME_DIR/weights
    export TAGFLEET_WORKER__DEVICE=$device
    runuser -u $USER_NAME -- "$1/bin/tagfleet" prepare
    status=$?
    rm -rf $CACHE/preparing
    exit $status
  )
}

warm() {
  if prepare $VENV >$PREPARE_LOG 2>&1; then
    cat $PREPARE_LOG
  elif [[ $gpu == yes ]]; then
    cat $PREPARE_LOG >&2
    fail "the engines cannot be prepared; the lines above say why"
  else
    say "no engine yet ($(tail -n 1 $PREPARE_LOG))"
    say "converting engines, in an environment with torch that is removed afterwards"
    make_venv $CONVERTER gpu-worker
    TAGFLEET_WORKER__ENGINE=openvino prepare $CONVERTER || fail "the engines cannot be converted; the lines above say why"
    rm -rf $CONVERTER
    prepare $VENV || fail "the converted engines do not work without torch; the lines above say why"
  fi
  rm -f $PREPARE_LOG
}

install_units() {
  local units unit wanted=(tagfleet-logs tagfleet-web tagfleet-collector tagfleet-controller tagfleet-ready)
  [[ $role == worker ]] && wanted=(tagfleet-logs tagfleet-worker)
  units=$(cd / && $VENV/bin/python -P -c 'import ami, pathlib; print(pathlib.Path(ami.__file__).parent / "units")')
  # A worker on a GPU whose driver does not work must not go on as one on a processor, which costs as much
  [[ $role == worker ]] && echo "TAGFLEET_WORKER__DEVICE=$device" >/etc/tagfleet/image.env
  install -d /etc/systemd/system/tagfleet-.service.d
  install -m 0644 "$units/tagfleet-.service.d/hardening.conf" /etc/systemd/system/tagfleet-.service.d/
  [[ $end_machine == yes ]] && wanted+=(power-off-after-tagfleet)
  [[ $role == worker && $seal == yes ]] && wanted+=(names-for-tagfleet)
  for unit in "${wanted[@]}"; do
    install -m 0644 "$units/$unit.service" /etc/systemd/system/
    [[ $unit == power-off-* ]] || systemctl --quiet enable "$unit.service"
  done
  if [[ -d /run/systemd/system ]]; then systemctl daemon-reload; fi
}

# Switch off what a machine that lives for minutes does not need at each boot
quieten() {
  systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service man-db.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer logrotate.timer motd-news.timer
}

# Remove name, keys and cloud-init's state, so that the next machine with this disk gets its own
seal() {
  if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
  if [[ $role == worker ]]; then
    # Whoever may launch workers may replace their user data. names-for-tagfleet.service only reads names from it.
    install -d /etc/cloud/cloud.cfg.d
    echo 'allow_userdata: false' >/etc/cloud/cloud.cfg.d/99-tagfleet.cfg
    rm -f /etc/tagfleet/worker.env
  fi
  rm -f /etc/ssh/ssh_host_*_key* /var/lib/dbus/machine-id $HOME_DIR/logs.cursor
  : >/etc/machine-id
  rm -rf /root/.cache /var/lib/apt/lists/*
}

main() {
  read_arguments "$@"
  [[ $(id -u) == 0 ]] || fail "root only: it makes a user, and units of systemd"
  command -v systemctl >/dev/null || fail "there is no systemd here"
  local kind=$role
  [[ $role == worker && $gpu == yes ]] && kind="gpu-worker"
  install_python
  say "a $kind, with $("$python" --version)"
  make_user
  make_venv $VENV "$kind"
  if [[ $role == worker ]]; then
    copy_models
    warm
  fi
  install_units
  if [[ $end_machine == yes ]]; then quieten; fi
  if [[ $seal == yes ]]; then seal; fi
  say "done: $($VENV/bin/tagfleet version 2>&1), a $kind"
}

main "$@"
