// The control plane that Dunlin's tests talk to: etcd, kube-apiserver, kube-controller-manager and
// kubectl in one program, so that the code they share is compiled, linked and stored once. The
// first argument, or the name it is called by, says which of them it is; `tools` are
// what the tests need beside them.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// Beside the programs, what tests need and Rust has no client for.
var tools = map[string]func(args []string) error{
	"keys":     makeKeys,
	"populate": populate,
	"churn":    churn,
}

func main() {
	if !known(filepath.Base(os.Args[0])) {
		if len(os.Args) < 2 || !known(os.Args[1]) {
			fmt.Fprintln(os.Stderr, "say which: etcd, kube-apiserver, kube-controller-manager or kubectl")
			os.Exit(2)
		}
		os.Args = os.Args[1:]
	}
	name := filepath.Base(os.Args[0])
	if tool, ok := tools[name]; ok {
		if err := tool(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		return
	}
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		run(controllers.NewControllerManagerCommand())
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			util.CheckErr(err)
		}
	}
}

func known(name string) bool {
	switch name {
	case "etcd", "kube-apiserver", "kube-controller-manager", "kubectl":
		return true
	}
	_, ok := tools[name]
	return ok
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}
