#!/usr/bin/env bash
# Takes a certificate through its life on the installation that `clm-local up` started, showing each step with its proof.
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=${CLM_PROGRAMS:-$PWD/target/release}
# Arguments are options of clm-local: --dir FOLDER for an installation elsewhere.
eval "$("$bin/clm-local" "$@" env)"
export CLM_CONFIG_DIR=$CLM_LOCAL_DIR/cli
name=www.$(date +%s).example.com
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

clm() { "$bin/clm" "$@"; }
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
proof() { sed 's/^/    /'; }

# Three people: nobody approves what he asked for himself. Their API keys stay in $CLM_CONFIG_DIR.
person() { # NAME ROLE PERMISSION...
    [[ -f $CLM_CONFIG_DIR/$1.key ]] && return
    local id
    id=$(clm --context admin user create "$1" --email "$1@example.org" -o json | field id)
    clm --context admin role assign "$2" --user "$id" --reason "walkthrough" >/dev/null
    clm --context admin key create walkthrough --user "$id" "${@:3}" --secret-file "$CLM_CONFIG_DIR/$1.key" >/dev/null
    clm login "$CLM_URL" --name "$1" --token-file "$CLM_CONFIG_DIR/$1.key" >/dev/null
}
mkdir -p -m 700 "$CLM_CONFIG_DIR"
if ! clm --context admin me >/dev/null 2>&1; then
    rm -f "$CLM_CONFIG_DIR/bootstrap-token"
    "$bin/clm-core" bootstrap-token --config "$CLM_LOCAL_DIR/core/core.toml" --output "$CLM_CONFIG_DIR/bootstrap-token" 2>/dev/null
    clm login "$CLM_URL" --name admin --bootstrap-token-file "$CLM_CONFIG_DIR/bootstrap-token" >/dev/null
    rm -f "$CLM_CONFIG_DIR/bootstrap-token"
fi
reading=(--scope request:read --scope certificate:read --scope authority:read)
person alice requester "${reading[@]}" --scope request:create
person bob approver "${reading[@]}" --scope request:approve

step "1. alice makes a key and a request with openssl"
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/key.pem" -out "$work/request.pem" \
    -subj "/CN=$name" -addext "subjectAltName=DNS:$name" 2>/dev/null
openssl req -in "$work/request.pem" -noout -verify -subject 2>&1 | proof

step "2. she asks for a certificate; it waits for approval"
# Exit code 6: waits for approval.
clm --context alice request create --profile tls-server --csr "$work/request.pem" --tag team=web --environment production \
    -o json >"$work/request.json" || [[ $? -eq 6 ]]
request=$(field id <"$work/request.json")
clm --context alice request show "$request" | proof

step "3. bob approves; the Secure Service signs"
clm --context bob approve "$request" --comment "as agreed" | proof
certificate=$(clm --context alice request show "$request" -o json | field certificate_id)

step "4. the certificate verifies under the root"
clm --context alice cert download "$certificate" --out "$work/chain.pem"
clm --context alice ca list -o json | python3 -c 'import json,sys; print(next(a["id"] for a in json.load(sys.stdin)["items"] if not a.get("parent_id")))' >"$work/root"
curl --silent --show-error --fail "$CLM_VALIDATION_URL/ca/$(cat "$work/root").pem" --output "$work/root.pem"
openssl x509 -in "$work/chain.pem" -out "$work/leaf.pem"
openssl verify -x509_strict -CAfile "$work/root.pem" -untrusted "$work/chain.pem" -verify_hostname "$name" "$work/leaf.pem" |
    sed "s|$work/||" | proof

step "5. it is listed with its metadata"
clm --context alice cert list --san "$name" | proof

step "6. the administrator revokes it"
clm --context admin cert revoke "$certificate" --reason keyCompromise --comment "walkthrough" -o json >"$work/revocation.json"
clm --context admin request show "$(field id <"$work/revocation.json")" | proof

step "7. OCSP answers revoked at once"
issuing=$(openssl x509 -in "$work/leaf.pem" -noout -ocsp_uri)
awk '/BEGIN/{n++} n==2' "$work/chain.pem" >"$work/issuer.pem"
openssl ocsp -issuer "$work/issuer.pem" -cert "$work/leaf.pem" -url "$issuing" \
    -CAfile "$work/root.pem" -verify_other "$work/issuer.pem" 2>&1 |
    sed "s|$work/||" | proof

step "8. the CRL lists it"
serial=$(openssl x509 -in "$work/leaf.pem" -noout -serial | cut -d= -f2)
crl=$(openssl x509 -in "$work/leaf.pem" -noout -ext crlDistributionPoints | grep -o 'http:[^[:space:]]*')
for _ in $(seq 50); do
    curl --silent --show-error --fail "$crl" --output "$work/crl.der"
    openssl crl -inform DER -in "$work/crl.der" -noout -text | grep -q "$serial" && break
    sleep 0.2
done
openssl crl -inform DER -in "$work/crl.der" -CAfile "$work/issuer.pem" -noout -crlnumber 2>&1 | proof
openssl crl -inform DER -in "$work/crl.der" -noout -text | grep -A4 "$serial" | proof

step "9. both databases' audit logs tell the story"
for operation in "$(clm --context admin request show "$request" -o json | field operation_id)" \
    "$(field operation_id <"$work/revocation.json")"; do
    clm --context admin audit list --operation "$operation" | proof
done
"$bin/clm-secure" audit verify --config "$CLM_SECURE_CONFIG" 2>&1 | proof

fingerprint=$(openssl x509 -in "$work/root.pem" -noout -fingerprint -sha256 | cut -d= -f2)
cat <<TEXT

CLM runs on this machine.
  API           $CLM_URL   (documented at $CLM_URL/openapi.json)
  Trust anchor  SHA-256 $fingerprint
                $CLM_VALIDATION_URL/ca/$(cat "$work/root").pem
  Sign in       export CLM_CONFIG_DIR=$CLM_CONFIG_DIR
                $bin/clm --context admin me        (also alice, bob)
  Databases     $bin/clm-local psql core|secure
  Data          $CLM_LOCAL_DIR
  Stop          make stop
TEXT
