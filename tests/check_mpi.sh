# One process a host over MPI: the same numbers as virtual hosts, and an early end when a rank dies.
# Open MPI itself leaves memory behind, so a sanitizer build does not look for leaks here.
export ASAN_OPTIONS=detect_leaks=0
exec python3 tests/checks/generate.py mpi
