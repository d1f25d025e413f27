#!/bin/sh
# Starts Mosquitto with the users that have a password in .env. MQTT_PASSWORD_<USER> is the password of <user>.
# Both files are copies that only the broker's user may read: Mosquitto asks for that.
set -eu
config=/mosquitto/config
data=/mosquitto/data

umask 077
mkdir -p "$data/access"
cp "$config/acl" "$data/access/acl"
: >"$data/access/passwords.new"
for user in edge zigbee2mqtt devices simulators monitor; do
  password=$(printenv "MQTT_PASSWORD_$(echo "$user" | tr '[:lower:]' '[:upper:]')" || true)
  if [ -n "$password" ]; then
    printf '%s:%s\n' "$user" "$password" >>"$data/access/passwords.new"
  fi
done
# Hashes each password where it is, so that none is ever an argument that `ps` shows.
mosquitto_passwd -U "$data/access/passwords.new"
mv "$data/access/passwords.new" "$data/access/passwords"
exec mosquitto -c "$config/mosquitto.conf"
