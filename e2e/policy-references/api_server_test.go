// SPDX-License-Identifier: Apache-2.0

package references

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// apiServer is as much of Kubernetes as the tests of policies need: objects are kept, pods run at once with an address, and
// connections that tests make by exec are decided by the evaluator.
type apiServer struct {
	*httptest.Server
	evaluator *evaluator
	isIPv6    bool
	// translate gives the evaluator a ClusterNetworkPolicy of another version or kind that says the same.
	translate func(object) object

	mutex   sync.Mutex
	objects map[string]map[string]object
	changes int
	given   int
	probes  int
}

// object is one of Kubernetes, as in JSON.
type object = map[string]any

// The resources that the tests use.
var kinds = map[string]string{
	"namespaces":             "Namespace",
	"pods":                   "Pod",
	"services":               "Service",
	"nodes":                  "Node",
	"networkpolicies":        "NetworkPolicy",
	"statefulsets":           "StatefulSet",
	"clusternetworkpolicies": "ClusterNetworkPolicy",
}

func startAPIServer(t *testing.T, evaluator *evaluator, isIPv6 bool) *apiServer {
	s := &apiServer{evaluator: evaluator, isIPv6: isIPv6, objects: map[string]map[string]object{}}
	for resource := range kinds {
		s.objects[resource] = map[string]object{}
	}
	for number := range nodes {
		s.addNode(number)
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// target is what a path names.
type target struct{ version, resource, namespace, name, subresource string }

func (a target) key() string { return a.namespace + "/" + a.name }

// parsePath reads /api/v1/... and /apis/GROUP/VERSION/....
func parsePath(path string) (target, bool) {
	words := strings.Split(strings.Trim(path, "/"), "/")
	var a target
	switch {
	case len(words) > 2 && words[0] == "api":
		a.version, words = words[1], words[2:]
	case len(words) > 3 && words[0] == "apis":
		a.version, words = words[1]+"/"+words[2], words[3:]
	default:
		return a, false
	}
	if words[0] == "namespaces" && len(words) > 2 {
		a.namespace, words = words[1], words[2:]
	}
	words = append(words, "", "")
	a.resource, a.name, a.subresource = words[0], words[1], words[2]
	return a, kinds[a.resource] != ""
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, known := parsePath(r.URL.Path)
	if !known {
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: r.URL.Path}, ""))
		return
	}
	if at.subresource == "exec" {
		s.serveExec(w, r, at)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	given := object{}
	if r.Method != http.MethodGet && r.Method != http.MethodDelete {
		if err := json.Unmarshal(body, &given); err != nil {
			refuse(w, apierrors.NewBadRequest(err.Error()))
			return
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	answer, failed := s.handle(r, at, given)
	if failed != nil {
		refuse(w, failed)
		return
	}
	write(w, http.StatusOK, answer)
}

func (s *apiServer) handle(r *http.Request, at target, given object) (any, *apierrors.StatusError) {
	resource := schema.GroupResource{Resource: at.resource}
	if at.name == "" && r.Method == http.MethodGet {
		return s.list(at, r.URL.Query().Get("labelSelector"))
	}
	if r.Method == http.MethodPost {
		at.name = text(given, "metadata", "name")
		if _, exists := s.objects[at.resource][at.key()]; exists {
			return nil, apierrors.NewAlreadyExists(resource, at.name)
		}
		return s.create(at, given), nil
	}
	there, exists := s.objects[at.resource][at.key()]
	if !exists {
		return nil, apierrors.NewNotFound(resource, at.name)
	}
	switch r.Method {
	case http.MethodGet:
		return there, nil
	case http.MethodPut:
		return s.replace(at, given, there), nil
	case http.MethodPatch:
		if kind := r.Header.Get("Content-Type"); kind != "application/merge-patch+json" {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, r.Method, resource, at.name, kind, 0, true)
		}
		return s.replace(at, mergePatch(there, given), there), nil
	case http.MethodDelete:
		delete(s.objects[at.resource], at.key())
		if at.resource == "namespaces" {
			s.empty(at.name)
		}
		return metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess}, nil
	}
	return nil, apierrors.NewMethodNotSupported(resource, r.Method)
}

func (s *apiServer) list(at target, selected string) (any, *apierrors.StatusError) {
	selector, err := labels.Parse(selected)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	items := []object{}
	for _, one := range s.objects[at.resource] {
		inside := at.namespace == "" || text(one, "metadata", "namespace") == at.namespace
		if inside && selector.Matches(labels.Set(stringMap(one, "metadata", "labels"))) {
			items = append(items, one)
		}
	}
	metadata := object{"resourceVersion": strconv.Itoa(s.changes)}
	return object{"apiVersion": at.version, "kind": kinds[at.resource] + "List", "metadata": metadata, "items": items}, nil
}

func (s *apiServer) create(at target, given object) object {
	metadata := child(given, "metadata")
	metadata["uid"] = fmt.Sprintf("00000000-0000-0000-0000-%012d", s.changes)
	if at.namespace != "" {
		metadata["namespace"] = at.namespace
	}
	s.start(at, given)
	return s.keep(at, given)
}

// replace keeps what the server alone writes.
func (s *apiServer) replace(at target, given, there object) object {
	child(given, "metadata")["uid"] = child(there, "metadata")["uid"]
	if status, reported := there["status"]; reported {
		given["status"] = status
	}
	return s.keep(at, given)
}

// keep stores the object with a version of its own.
func (s *apiServer) keep(at target, given object) object {
	s.changes++
	given["apiVersion"], given["kind"] = at.version, kinds[at.resource]
	if at.resource == "namespaces" {
		// No client can take it away.
		child(child(given, "metadata"), "labels")["kubernetes.io/metadata.name"] = at.name
	}
	child(given, "metadata")["resourceVersion"] = strconv.Itoa(s.changes)
	s.objects[at.resource][at.key()] = given
	return given
}

func (s *apiServer) empty(namespace string) {
	for _, objects := range s.objects {
		for key := range objects {
			if strings.HasPrefix(key, namespace+"/") {
				delete(objects, key)
			}
		}
	}
}

// mergePatch is RFC 7396.
func mergePatch(there, patch object) object {
	merged := object{}
	for key, value := range there {
		merged[key] = value
	}
	for key, value := range patch {
		inner, isObject := value.(object)
		switch {
		case value == nil:
			delete(merged, key)
		case isObject:
			before, _ := merged[key].(object)
			merged[key] = mergePatch(before, inner)
		default:
			merged[key] = value
		}
	}
	return merged
}

func refuse(w http.ResponseWriter, failed *apierrors.StatusError) {
	failed.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	write(w, int(failed.ErrStatus.Code), failed.ErrStatus)
}

func write(w http.ResponseWriter, code int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// child is an object inside of another, made where it is missing.
func child(of object, name string) object {
	inner, there := of[name].(object)
	if !there {
		inner = object{}
		of[name] = inner
	}
	return inner
}

func field(of any, path ...string) any {
	at := of
	for _, name := range path {
		inner, _ := at.(object)
		at = inner[name]
	}
	return at
}

func text(of object, path ...string) string {
	value, _ := field(of, path...).(string)
	return value
}

func stringMap(of object, path ...string) map[string]string {
	found := map[string]string{}
	inner, _ := field(of, path...).(object)
	for key, value := range inner {
		found[key], _ = value.(string)
	}
	return found
}
