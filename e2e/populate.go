package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// A big cluster that exists in the API alone.
const (
	writers   = 32
	populated = "default"
)

// populate creates nodes, services and endpoints, ten of them to a slice and a slice to each service: so many as the
// arguments say. The services have no address outside, so that nothing is to be announced.
func populate(args []string) error {
	counts, err := numbers(args, "populate NODES SERVICES")
	if err != nil {
		return err
	}
	nodes, services := counts[0], counts[1]
	client, err := connect()
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := inParallel(nodes, func(number int) error {
		object := node(number)
		created, err := client.CoreV1().Nodes().Create(ctx, object, meta.CreateOptions{})
		if err != nil {
			return err
		}
		created.Status = object.Status
		_, err = client.CoreV1().Nodes().UpdateStatus(ctx, created, meta.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	return inParallel(services, func(number int) error {
		if _, err := client.CoreV1().Services(populated).Create(ctx, service(number), meta.CreateOptions{}); err != nil {
			return err
		}
		_, err := client.DiscoveryV1().EndpointSlices(populated).Create(ctx, slice(number, nodes, true), meta.CreateOptions{})
		return err
	})
}

// churn flips the readiness of one endpoint after another, so many times a second, for so many seconds.
func churn(args []string) error {
	counts, err := numbers(args, "churn NODES SERVICES PER_SECOND SECONDS")
	if err != nil || len(counts) < 4 {
		return errors.Join(err, errors.New("churn NODES SERVICES PER_SECOND SECONDS"))
	}
	nodes, services, perSecond, seconds := counts[0], counts[1], counts[2], counts[3]
	client, err := connect()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for change := range perSecond * seconds {
		<-ticker.C
		number := change % services
		object := slice(number, nodes, change/services%2 == 1)
		_, err := client.DiscoveryV1().EndpointSlices(populated).Update(context.Background(), object, meta.UpdateOptions{})
		if err != nil {
			return err
		}
	}
	return nil
}

func numbers(args []string, usage string) ([]int, error) {
	if len(args) < 2 {
		return nil, errors.New(usage)
	}
	counts := make([]int, len(args))
	for index, arg := range args {
		count, err := strconv.Atoi(arg)
		if err != nil || count < 1 {
			return nil, errors.New(usage)
		}
		counts[index] = count
	}
	return counts, nil
}

func connect() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 10_000, 10_000
	return kubernetes.NewForConfig(config)
}

func inParallel(count int, work func(number int) error) error {
	numbers := make(chan int)
	failures := make(chan error, writers)
	var group sync.WaitGroup
	for range writers {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				if err := work(number); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
			}
		}()
	}
	for number := range count {
		numbers <- number
	}
	close(numbers)
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func node(number int) *core.Node {
	name := fmt.Sprintf("big-%d", number)
	high, low := number>>8, number&0xff
	subnets := []string{fmt.Sprintf("10.%d.%d.0/24", 100+high, low), fmt.Sprintf("fd45:0:0:%x::/64", number+1)}
	return &core.Node{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{
			"kubernetes.io/hostname":           name,
			"kubernetes.io/os":                 "linux",
			"topology.kubernetes.io/zone":      fmt.Sprintf("zone-%d", number%3),
			"node.kubernetes.io/instance-type": "metal",
		}},
		Spec: core.NodeSpec{PodCIDR: subnets[0], PodCIDRs: subnets},
		Status: core.NodeStatus{Addresses: []core.NodeAddress{
			{Type: core.NodeInternalIP, Address: fmt.Sprintf("198.18.%d.%d", high, low)},
			{Type: core.NodeHostName, Address: name},
		}},
	}
}

func service(number int) *core.Service {
	return &core.Service{
		ObjectMeta: meta.ObjectMeta{Name: fmt.Sprintf("big-%d", number)},
		Spec:       core.ServiceSpec{Ports: []core.ServicePort{{Port: 80}}},
	}
}

func slice(number, nodes int, ready bool) *discovery.EndpointSlice {
	name := fmt.Sprintf("big-%d", number)
	port := int32(8080)
	var endpoints []discovery.Endpoint
	for index := range 10 {
		first := index > 0 || ready
		where := fmt.Sprintf("big-%d", (number*10+index)%nodes)
		address := (number*10 + index) % (1 << 20)
		endpoints = append(endpoints, discovery.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 100+address>>16, address>>8&0xff, address&0xff)},
			NodeName:   &where,
			Conditions: discovery.EndpointConditions{Ready: &first, Serving: &first},
			TargetRef:  &core.ObjectReference{Kind: "Pod", Namespace: populated, Name: fmt.Sprintf("%s-%d", name, index)},
		})
	}
	return &discovery.EndpointSlice{
		ObjectMeta: meta.ObjectMeta{
			Name:   name,
			Labels: map[string]string{discovery.LabelServiceName: name},
		},
		AddressType: discovery.AddressTypeIPv4,
		Ports:       []discovery.EndpointPort{{Port: &port}},
		Endpoints:   endpoints,
	}
}
