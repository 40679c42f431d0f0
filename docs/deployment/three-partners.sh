#!/usr/bin/env bash
# A whole federation on one machine, as its people would run it: a coordinator and three partners,
# each as processes of their own, talking through the gateway with certificates of their own.
#
#   bash docs/deployment/three-partners.sh [FOLDER]     (default: runs/three-partners)
#
# ROUNDS (default 3) and PORT (default 9443) may be set in the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
began=$SECONDS
make --silent setup                       # into .venv: minutes the first time, nothing afterwards
PATH="$PWD/.venv/bin:$PATH"

home="$(realpath -m "${1:-runs/three-partners}")"
mkdir -p "$home" && cd "$home"
# Each partner's ledger is remembered outside its folder; here it is all one machine.
export XDG_STATE_HOME="$home/state"

# The logs that three platforms would have: a shop, a music service, a young game store.
fedinterest init --demo logs

# --- the coordinator, command 1 of 3 ------------------------------------------------------------
fedinterest-server init coordinator --address "localhost:${PORT:-9443}"
sed -i "s/^partners = 2 /partners = 3 /; s/^# rounds = 48 /rounds = ${ROUNDS:-3} /" coordinator/server.toml

# --- each partner, command 1 of 3: look at the data, write client.toml and a request ------------
fedinterest-client init bazaar --kind shop --events logs/bazaar/orders.csv \
    --items logs/bazaar/products.csv --yes
fedinterest-client init tempo --kind music --events logs/tempo/plays.jsonl \
    --items logs/tempo/tracks.jsonl --user listener --item track --time ts --time-unit ms --yes
fedinterest-client init arcade --kind games --events logs/arcade/library.tsv \
    --items logs/arcade/games.tsv --user player --item app_id --time added_us --time-unit us \
    --item-id app_id --title game --yes

for partner in bazaar tempo arcade; do
    # --- the coordinator, command 2 of 3, once for each partner: sign its request ---------------
    fedinterest-server enrol $partner $partner/request.json --dir coordinator --out $partner/answer.json
    # --- each partner, command 2 of 3: 25 checks and a rehearsal; nothing is sent ---------------
    fedinterest-client check $partner --enrolment $partner/answer.json --offline
done

# --- the coordinator, command 3 of 3, and each partner, command 3 of 3: take part ---------------
stop() { for partner in bazaar tempo arcade; do fedinterest-client stop $partner || true; done; }
trap stop EXIT
for partner in bazaar tempo arcade; do
    fedinterest-client up $partner >$partner/up.log 2>&1 &
done
fedinterest-server up coordinator --once

fedinterest-server status coordinator
fedinterest-client budget bazaar
echo "a federation of three partners, from nothing to its adapter: $((SECONDS - began)) s"
echo "the adapter: $home/coordinator/runs/0001/adapter"
