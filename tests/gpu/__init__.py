"""The proof on a machine with a real GPU: `make gpuproof`. Not part of `make test`."""
