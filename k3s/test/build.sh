#!/usr/bin/env bash
# Builds a real Kubernetes, the newest whose server Debian has in source with all that it needs: 1.20.2.
# apiserver, controller manager, scheduler and kubelet end up in CACHE/bin; etcd, containerd, runc and the
# network plugins are Debian's own, unpacked beside them.
#
#   build.sh CACHE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(mkdir -p "${1:?which folder?}" && cd "$1" && pwd)
# shellcheck source=k3s/test/debian.sh
. "$here/debian.sh"

suite=bookworm
version=1.20.2
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet)

unpack $suite "$cache/node" etcd-server containerd runc containernetworking-plugins
built() {
  local program
  for program in "${programs[@]}"; do [ -x "$cache/bin/$program" ] || return 1; done
  [ -e "$cache/pause.tar" ]
}
! built || exit 0

unpack $suite "$cache/go" golang-1.19-go golang-1.19-src
source=$cache/gopath/src/k8s.io/kubernetes
if [ ! -e "$source/.complete" ]; then
  tarball=$(source_of $suite "$cache/source" kubernetes)
  rm -rf "$source"
  mkdir -p "$source"
  tar xzf "$tarball" -C "$source" --strip-components=1
  touch "$source/.complete"
fi

export GOROOT=$cache/go/usr/lib/go-1.19 GOPATH=$cache/gopath GOCACHE=$cache/gocache
export GO111MODULE=off GOPROXY=off GOFLAGS='' CGO_ENABLED=0
PATH=$GOROOT/bin:$PATH
cd "$source"

# The one generated file that the source lacks: what the API server says of its types.
openapi=pkg/generated/openapi/zz_generated.openapi.go
if [ ! -e $openapi ]; then
  go build -o "$cache/bin/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  described=$(
    {
      grep -rl --include='*.go' '+k8s:openapi-gen=' pkg cmd plugin
      grep -Rl --include='*.go' '+k8s:openapi-gen=' vendor/k8s.io/*/
    } 2>/dev/null |
      grep -vE '_test.go|vendor/k8s.io/(code-generator|sample-apiserver)/|/kube-openapi/|/gengo/|sample-' |
      xargs -n 1 dirname | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd ,
  )
  "$cache/bin/openapi-gen" --logtostderr -i "$described" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt \
    -r "$cache/violations.report"
fi

# What holds a pod's namespaces; the image that it comes in.
if [ ! -e "$cache/pause.tar" ]; then
  mkdir -p "$cache/pause"
  cc -Os -static -o "$cache/pause/pause" build/pause/linux/pause.c
  printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' >"$cache/pause/Containerfile"
  store=(--root "$cache/pause/store" --runroot "$cache/pause/run" --storage-driver vfs)
  buildah "${store[@]}" build --quiet --tag localhost/pause:1 "$cache/pause" >&2
  buildah "${store[@]}" push --quiet localhost/pause:1 "docker-archive:$cache/pause.tar:localhost/pause:1"
  rm -rf "$cache/pause"
fi

flags='-s -w'
for package in client-go/pkg/version component-base/version; do
  package=k8s.io/kubernetes/vendor/k8s.io/$package
  for value in gitVersion=v$version gitMajor=1 gitMinor=20 gitCommit=debian gitTreeState=clean \
    buildDate=2021-01-13T00:00:00Z; do
    flags="$flags -X $package.$value"
  done
done
# Without clouds and Docker, which a box has not and which are half of the code.
go build -tags providerless,dockerless -ldflags "$flags" -o "$cache/bin/" "${programs[@]/#/./cmd/}"
# 1 GB that only another build would use.
go clean -cache
