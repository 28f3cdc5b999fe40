// Command tuned runs Kubeflow's PyTorchJob controller, as its module has it, with the limits of its API client raised.
//
// The operator as shipped sends 20 requests a second at most (the default of its client library, and no flag changes
// it), which would make most of a comparison with it a comparison with that number. Left out, in its favour: its
// webhook server and the certificates for it.
package main

import (
	"flag"
	"log"

	kubeflow "github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	"github.com/kubeflow/training-operator/pkg/config"
	controllers "github.com/kubeflow/training-operator/pkg/controller.v1"
	"github.com/kubeflow/training-operator/pkg/controller.v1/common"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	controllerruntime "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	rate := flag.Float64("qps", 5000, "requests a second that the API client may send")
	threads := flag.Int("controller-threads", 16, "jobs worked on at the same time")
	flag.Parse()
	controllerruntime.SetLogger(zap.New())
	// As its own main does; without an image no worker pod is valid.
	config.Config.PyTorchInitContainerImage = config.PyTorchInitContainerImageDefault
	config.Config.PyTorchInitContainerTemplateFile = config.PyTorchInitContainerTemplateFileDefault
	config.Config.PyTorchInitContainerMaxTries = config.PyTorchInitContainerMaxTriesDefault

	known := runtime.NewScheme()
	must(scheme.AddToScheme(known))
	must(kubeflow.AddToScheme(known))
	connection := controllerruntime.GetConfigOrDie()
	connection.QPS, connection.Burst = float32(*rate), int(*rate)
	manager, err := controllerruntime.NewManager(connection, controllerruntime.Options{
		Scheme:  known,
		Metrics: server.Options{BindAddress: "0"},
	})
	must(err)
	setUp := controllers.SupportedSchemeReconciler[kubeflow.PyTorchJobKind]
	must(setUp(manager, common.GenNonGangSchedulerSetupFunc(), *threads))
	must(manager.Start(controllerruntime.SetupSignalHandler()))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
