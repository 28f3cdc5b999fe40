// Command coredns is CoreDNS with only the plugins that the local cluster's DNS uses.
//
// The stock program links every plugin (cloud SDKs, tracing, QUIC peers, …) and takes over five minutes
// to build on two cores. This one takes 46 s, and less once the Kubernetes programs are built: both use
// the same client library, because they are one module. There is no `forward`: a local cluster's pods
// have no way out, and a name outside the cluster is refused at once instead of timing out.
package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
