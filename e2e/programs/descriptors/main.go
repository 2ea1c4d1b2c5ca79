// Prints what the published gRPC interfaces of Tetragon and Cilium are made of, as JSON that a test can compare with
// our own .proto files: names, numbers, types, cardinality. Nothing else of theirs is read.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	_ "github.com/cilium/cilium/api/v1/flow"
	_ "github.com/cilium/cilium/api/v1/observer"
	_ "github.com/cilium/cilium/api/v1/peer"
	_ "github.com/cilium/cilium/api/v1/relay"
	_ "github.com/cilium/tetragon/api/v1/tetragon"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Field is one field of a message.
type Field struct {
	Name        string `json:"name"`
	Number      int32  `json:"number"`
	Type        string `json:"type"`
	Cardinality string `json:"cardinality"`
	Oneof       string `json:"oneof"`
}

// Value is one value of an enum.
type Value struct {
	Name   string `json:"name"`
	Number int32  `json:"number"`
}

// Method is one method of a service.
type Method struct {
	Name            string `json:"name"`
	Input           string `json:"input"`
	Output          string `json:"output"`
	ClientStreaming bool   `json:"clientStreaming"`
	ServerStreaming bool   `json:"serverStreaming"`
}

// Dump is everything, by full name; fields and values in the order in which they are declared.
type Dump struct {
	Messages map[string][]Field  `json:"messages"`
	Enums    map[string][]Value  `json:"enums"`
	Services map[string][]Method `json:"services"`
}

var packages = map[protoreflect.FullName]bool{"tetragon": true, "flow": true, "observer": true, "peer": true, "relay": true}

func main() {
	dump := Dump{Messages: map[string][]Field{}, Enums: map[string][]Value{}, Services: map[string][]Method{}}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if packages[file.Package()] {
			dump.messages(file.Messages())
			dump.enums(file.Enums())
			dump.services(file.Services())
		}
		return true
	})
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(dump); err != nil {
		fmt.Fprintln(os.Stderr, "writing the descriptors:", err)
		os.Exit(1)
	}
}

func (d *Dump) messages(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		message := all.Get(i)
		fields := []Field{}
		for j := range message.Fields().Len() {
			fields = append(fields, field(message.Fields().Get(j)))
		}
		d.Messages[string(message.FullName())] = fields
		d.messages(message.Messages())
		d.enums(message.Enums())
	}
}

func field(f protoreflect.FieldDescriptor) Field {
	out := Field{Name: string(f.Name()), Number: int32(f.Number()), Type: f.Kind().String(), Cardinality: f.Cardinality().String()}
	switch f.Kind() {
	case protoreflect.MessageKind:
		out.Type = string(f.Message().FullName())
	case protoreflect.EnumKind:
		out.Type = string(f.Enum().FullName())
	}
	if f.HasOptionalKeyword() {
		out.Cardinality = "explicit"
	}
	if oneof := f.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		out.Oneof = string(oneof.Name())
	}
	return out
}

func (d *Dump) enums(all protoreflect.EnumDescriptors) {
	for i := range all.Len() {
		enum := all.Get(i)
		values := []Value{}
		for j := range enum.Values().Len() {
			value := enum.Values().Get(j)
			values = append(values, Value{Name: string(value.Name()), Number: int32(value.Number())})
		}
		d.Enums[string(enum.FullName())] = values
	}
}

func (d *Dump) services(all protoreflect.ServiceDescriptors) {
	for i := range all.Len() {
		service := all.Get(i)
		methods := []Method{}
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			methods = append(methods, Method{
				Name: string(m.Name()), Input: string(m.Input().FullName()), Output: string(m.Output().FullName()),
				ClientStreaming: m.IsStreamingClient(), ServerStreaming: m.IsStreamingServer(),
			})
		}
		d.Services[string(service.FullName())] = methods
	}
}
