module neurontraining.dev/benchmarks/operator/peers/floor

go 1.24
