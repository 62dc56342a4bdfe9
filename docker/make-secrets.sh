#!/bin/sh
# Makes the secrets that docker/secure.yml mounts, and shows the first key, once. What is there already stays.
set -eu
directory=$(dirname "$0")/secrets
if [ -e "$directory" ]; then
  echo "$directory is there already; nothing was changed." >&2
  exit 1
fi
umask 077
mkdir "$directory" "$directory/server"

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
sha256() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
put() { printf '%s\n' "$2" > "$directory/$1"; }

key=rmt_$(random)
metrics_key=rmt_$(random)
redis_password=$(random)
put server/api_keys "main write sha256:$(sha256 "$key")
metrics admin sha256:$(sha256 "$metrics_key")"
put metrics_key "$metrics_key"
# The probe may ask whether Redis answers, and nothing else: loading its file it does not.
put redis_users "user default on #$(sha256 "$redis_password") ~* &* +@all
user probe on nopass resetkeys resetchannels -@all +ping"
put server/redis_url "redis://:$redis_password@redis:6379/0"
put grafana_password "$(random)"
# A container's user is another one than yours, and reads them; on this machine the directory keeps others out.
chmod 755 "$directory/server"
chmod 644 "$directory"/*_* "$directory"/server/*

cat << TEXT
The key, which is shown this once (scope: write):

    $key

Further ones: docker compose run --rm --no-deps server keys new --tenant NAME, and add the line to docker/secrets/server/api_keys.
The password of Grafana's user admin is in docker/secrets/grafana_password.
TEXT
