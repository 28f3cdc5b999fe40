// Command coscheduling is kube-scheduler with the Coscheduling plugin and no other of scheduler-plugins.
//
// The stock program links every plugin (load watchers, network topologies, …). This one shares the pins of
// hack/tools, so that it is built from what the cache already holds.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"

	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme"
)

func main() {
	os.Exit(cli.Run(app.NewSchedulerCommand(app.WithPlugin(coscheduling.Name, coscheduling.New))))
}
