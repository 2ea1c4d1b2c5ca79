// No version of this module can be had, and what the commands here link needs nothing of it: an empty one stands in.
module github.com/cilium/tetragon/pkg/k8s

go 1.26.0
