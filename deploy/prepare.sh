#!/bin/sh
# Makes .env from .env.example, or completes it: every password that is empty gets one, and the dongle's place its path.
# What is set stays. To be run again after an upgrade: what is new in .env.example is added.
set -eu
cd "$(dirname "$0")"
umask 077
touch .env

password() {
  LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 24
}

dongle() {
  for found in "${SERIAL:-/dev/serial/by-id}"/*; do
    if [ -e "$found" ]; then
      echo "$found"
      return
    fi
  done
}

cp .env .env.new
trap 'rm -f .env.new' EXIT
if [ ! -s .env ]; then
  cp .env.example .env.new
fi
grep -E '^[A-Z0-9_]+=' .env.example | while IFS='=' read -r name value; do
  if ! grep -q "^$name=" .env.new; then
    printf '%s=%s\n' "$name" "$value" >>.env.new
  fi
  if grep -q "^$name=\$" .env.new; then
    value=
    case $name in
      *PASSWORD* | *SECRET*) value=$(password) ;;
      ZIGBEE_DONGLE) value=$(dongle) ;;
    esac
    if [ -n "$value" ]; then
      sed "s|^$name=\$|$name=$value|" .env.new >.env.next
      mv .env.next .env.new
    fi
  fi
done
mv .env.new .env

echo "deploy/.env is complete: its passwords are yours alone"
if grep -q '^ZIGBEE_DONGLE=$' .env; then
  echo "no Zigbee dongle is plugged in: set ZIGBEE_DONGLE in .env, or start without one:"
  echo "  docker compose --profile simulate up -d"
else
  echo "  docker compose up -d"
fi
