// Both ends of gRPC calls on a port of this machine, each on one connection: `grpc PORT CALLS`. Calls of the service of health by
// several goroutines, every tenth for a service that is not known, and one stream of reflection in both directions.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// Messages of the stream in each direction.
const messages = 20

// Calls that are made at a time.
const goroutines = 8

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: grpc PORT CALLS"))
	}
	calls, err := strconv.Atoi(os.Args[2])
	fail(err)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	fail(err)
	server := grpc.NewServer()
	known := health.NewServer()
	known.SetServingStatus("shop.Cart", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, known)
	reflection.Register(server)
	go server.Serve(listener)

	connection, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	fail(err)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-user", "anglerfish", "authorization", "Bearer anglerfish")
	check(ctx, healthpb.NewHealthClient(connection), calls)
	stream(ctx, reflectionpb.NewServerReflectionClient(connection))
	fail(connection.Close())
	server.GracefulStop()
}

func check(ctx context.Context, client healthpb.HealthClient, calls int) {
	var all sync.WaitGroup
	for first := range goroutines {
		all.Go(func() {
			for number := first; number < calls; number += goroutines {
				service, wanted := "shop.Cart", codes.OK
				if number%10 == 9 {
					service, wanted = "shop.Till", codes.NotFound
				}
				_, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
				if status.Code(err) != wanted {
					fail(fmt.Errorf("call %d: %w", number, err))
				}
			}
		})
	}
	all.Wait()
}

func stream(ctx context.Context, client reflectionpb.ServerReflectionClient) {
	stream, err := client.ServerReflectionInfo(ctx)
	fail(err)
	list := &reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{ListServices: "*"},
	}
	for range messages {
		fail(stream.Send(list))
		_, err := stream.Recv()
		fail(err)
	}
	fail(stream.CloseSend())
	_, _ = stream.Recv()
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
