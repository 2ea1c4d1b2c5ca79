// SPDX-License-Identifier: Apache-2.0

// Command tetragon-api calls one method of tetragon.FineGuidanceSensors through the Go API that Tetragon publishes, as programs of
// others do: tetragon-api ADDRESS METHOD REQUEST. Request and replies are JSON, a reply a line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	_ "github.com/cilium/tetragon/api/v1/tetragon"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const service = "tetragon.FineGuidanceSensors"

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: tetragon-api ADDRESS METHOD REQUEST")
		os.Exit(2)
	}
	if err := call(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(address, method, text string) error {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
	if err != nil {
		return err
	}
	descriptor := found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
	if descriptor == nil {
		return fmt.Errorf("%s has no method %s", service, method)
	}
	request, err := message(descriptor.Input())
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal([]byte(text), request); err != nil {
		return err
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	path := "/" + service + "/" + method
	stream, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		reply, err := message(descriptor.Output())
		if err != nil {
			return err
		}
		if err := stream.RecvMsg(reply); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		line, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(reply)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
		if !descriptor.IsStreamingServer() {
			return nil
		}
	}
}

func message(descriptor protoreflect.MessageDescriptor) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}
