"""The night: build, evaluate, gate, publish, report."""
