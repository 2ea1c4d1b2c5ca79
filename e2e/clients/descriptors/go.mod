module github.com/trilobite-dev/trilobite/e2e/clients/descriptors

go 1.26.0

require (
	github.com/cilium/cilium v1.20.2
	github.com/cilium/tetragon/api v1.7.0
	google.golang.org/protobuf v1.36.12-0.20260120151049-f2248ac996af
)

require (
	golang.org/x/net v0.56.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
	golang.org/x/text v0.39.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260622175928-b703f567277d // indirect
	google.golang.org/grpc v1.83.1 // indirect
)

replace github.com/cilium/tetragon => github.com/cilium/tetragon v1.7.0
