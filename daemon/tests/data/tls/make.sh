#!/bin/sh
# The certificates beside this file: for localhost, self-signed, P-256. Needs OpenSSL 3.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/index"
cat >"$work/ca.cnf" <<CNF
[ca]
default_ca = own
[own]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:false
subjectAltName = DNS:localhost,IP:127.0.0.1
CNF

# certificate NAME FROM UNTIL: NAME.pem, made with NAME.key.
certificate() {
  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt >"$1.key"
  openssl req -new -key "$1.key" -subj /CN=localhost -out "$work/$1.csr"
  openssl ca -batch -notext -selfsign -config "$work/ca.cnf" -keyfile "$1.key" -in "$work/$1.csr" \
    -startdate "$2" -enddate "$3" -out "$1.pem" 2>/dev/null
  chmod 600 "$1.key"
}

certificate cert 20240229123456Z 21240205123456Z
certificate renewed 20240229123456Z 21240205123456Z
certificate expired 20191231235959Z 20200301000000Z
