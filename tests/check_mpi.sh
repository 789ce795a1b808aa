# One process a host over MPI: the same numbers as virtual hosts, and an early end when a rank dies.
exec python3 tests/checks/generate.py mpi
