# kill -9 in the middle of a sweep, then the same command: no row lost, repeated or half-written.
exec python3 tests/checks/resume.py
