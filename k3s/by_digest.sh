#!/usr/bin/env bash
# Writes an overlay of k3s/ that names the image by its digest, so that a tag which comes to mean something
# else changes nothing.
#
#   by_digest.sh DIGEST FOLDER
#
# DIGEST is sha256:…; `kubectl apply -k FOLDER` then runs that image and no other.
set -euo pipefail
digest=${1:?which digest?}
folder=${2:?into which folder?}
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "by_digest: $digest is no digest" >&2; exit 65; }
mkdir -p "$folder"
base=$(realpath --relative-to="$folder" "$(dirname "$0")")
cat >"$folder/kustomization.yaml" <<OVERLAY
# For a registry of your own set newName.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - $base
images:
  - name: localhost/picket
    newName: localhost/picket
    digest: $digest
OVERLAY
